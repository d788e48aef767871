"""An exception that nobody foresaw at every boundary of a running portside: forwards serve, what broke comes back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from tests.bulkheads.faults import FAULTS, Seam
from tests.bulkheads.ship import NAMESPACE, PORTS, Ship, sailing
from tests.cli.made import closed_port
from watcher.errors import ClusterError


async def connect(ship: Ship) -> None:
    await ship.answers("other")


async def connect_anew(ship: Ship) -> None:
    """The pod's sessions end, so that others are opened."""
    (pod,) = ship.deployments["other"].pods
    ship.cluster.fail_sessions(pod)
    await ship.answers("other")


async def ask_gateway(ship: Ship) -> None:
    await ship.asks(ship.gateway, "other.localhost")


async def ask_status(ship: Ship) -> None:
    await ship.asks(f"{ship.status}/v1/forwards")


async def read_events(ship: Ship) -> None:
    await ship.asks(f"{ship.status}/v1/events", within=0.2)


async def cut_watches(ship: Ship) -> None:
    ship.cluster.fail_watches()


async def expire_watches(ship: Ship) -> None:
    ship.cluster.fail_watches(code=410)


async def replan(ship: Ship) -> None:
    ship.source.runtime.touch()


async def add_service(ship: Ship) -> None:
    """A forward more."""
    number = len(ship.source.runtime.board.forwards)
    ship.cluster.service(f"more-{number}", {"app": "other"}, PORTS, namespace=NAMESPACE, labels=ship.labels)


async def deploy(ship: Ship) -> None:
    """Skaffold says something, and then there is another service."""
    ship.skaffold.play(ship.rest)
    await add_service(ship)


async def edit(ship: Ship) -> None:
    ship.edit()


async def renew(ship: Ship) -> None:
    cluster = ship.source._cluster
    assert cluster is not None
    with suppress(ClusterError):
        cluster.credentials.edited()
        await cluster.credentials(True)  # noqa: FBT003 - ApiServer's signature


async def touch_kubeconfig(ship: Ship) -> None:
    config = ship.folder / "config"
    config.write_text(config.read_text() + "\n")


# What shows that it is back.


async def other_answers(ship: Ship) -> bool:
    return await ship.answers("other")


async def gateway_answers(ship: Ship) -> bool:
    return await ship.asks(ship.gateway, "other.localhost") == 200


async def status_answers(ship: Ship) -> bool:
    return await ship.asks(f"{ship.status}/v1/forwards") == 200


async def new_services_are_forwarded(ship: Ship) -> bool:
    await add_service(ship)
    name = f"late-{len(ship.source.runtime.board.forwards)}"
    ship.cluster.service(name, {"app": "other"}, PORTS, namespace=NAMESPACE, labels=ship.labels)
    return await ship.soon(lambda: ship.answers(name))


async def env_file_names_new_ones(ship: Ship) -> bool:
    await add_service(ship)
    await trio.sleep(0.1)
    return "MORE_" in (ship.folder / "env").read_text()


async def edits_are_followed(ship: Ship) -> bool:
    ship.edit()
    wanted = 9000 + ship._edits
    board = ship.source.runtime.board
    return await ship.soon(lambda: any(record.remote_port == wanted for record in board.forwards.values()))


async def skaffold_is_read(ship: Ship) -> bool:
    return ship.source._attachment.facts.attached


class Boundary(NamedTuple):
    """`seam`: what raises, `faults` times; `trigger`: what makes it be called; `back`: whether it works again."""

    name: str
    seam: str
    trigger: Callable[[Ship], Awaitable[None]]
    back: Callable[[Ship], Awaitable[bool]]
    faults: int = len(FAULTS)


# To leave Skaffold's stream politely, so that it lives on, takes seconds each time.
SLOW = 1
# Portsides among which the boundaries are shared: each takes a second to start.
SHIPS = 6
BOUNDARIES = (
    Boundary("a connection", "forwarders.relay:Relay.run", connect, other_answers),
    Boundary("accepting", "forwarders.system.files:is_reserved", connect, other_answers),
    Boundary("opening a session", "forwarders.transports.opener:Opener.open", connect_anew, other_answers),
    Boundary("a pod's pool", "forwarders.pool:Pool._wants_more", connect_anew, other_answers),
    Boundary("a forward's choice of pods", "forwarders.backend:Backend.refresh", connect_anew, other_answers),
    Boundary("a forward's port", "forwarders.forward:bind", add_service, new_services_are_forwarded),
    Boundary(
        "the gateway's first request",
        "forwarders.gateway.gateway:GatewayClient.first_request",
        ask_gateway,
        gateway_answers,
    ),
    Boundary("the gateway's names", "watcher.gateway_names:GatewayNames.meant", ask_gateway, gateway_answers),
    Boundary("the gateway's names in a plan", "watcher.gateway_names:GatewayNames.update", replan, gateway_answers),
    Boundary("a status question", "watcher.board.http.routes:Routes._forwards", ask_status, status_answers),
    Boundary("a reader of events", "watcher.board.http.routes:Routes._events", read_events, status_answers),
    Boundary("a watch", "watcher.cluster.api_client:ApiClient.watch", cut_watches, new_services_are_forwarded),
    Boundary("a list", "watcher.cluster.api_client:ApiClient.list", expire_watches, new_services_are_forwarded),
    Boundary("an object of a watch", "watcher.cluster.store:WatchCache.put", add_service, new_services_are_forwarded),
    Boundary("facts", "watcher.loop:required_watches", replan, new_services_are_forwarded),
    Boundary("the plan", "watcher.loop:plan_in_steps", replan, new_services_are_forwarded),
    Boundary("comparing plans", "watcher.loop:diff", replan, new_services_are_forwarded),
    Boundary("starting a forward", "forwarders.fleet:Fleet.start", add_service, new_services_are_forwarded),
    Boundary("the board", "watcher.loop:forward_record", add_service, new_services_are_forwarded),
    Boundary("lines", "watcher.board.lines:JsonLines.lines", add_service, new_services_are_forwarded),
    Boundary("the env file", "watcher.board.environment:env_lines", add_service, env_file_names_new_ones),
    Boundary("Skaffold's events", "watcher.skaffold.attachment:apply", deploy, skaffold_is_read, SLOW),
    Boundary("the decoder of events", "watcher.skaffold.events:EventDecoder.feed", deploy, skaffold_is_read, SLOW),
    Boundary("what Skaffold is told", "watcher.skaffold.port_events:due", deploy, new_services_are_forwarded),
    Boundary("what events mean", "watcher.cli.skaffold_source:change_kinds", deploy, skaffold_is_read, SLOW),
    Boundary("the configuration", "watcher.config.skaffold_yaml:load_all", edit, edits_are_followed),
    Boundary("watching the configuration", "watcher.cli.facts_from_options:change_since", edit, edits_are_followed),
    Boundary("credentials", "watcher.cluster.credential_provider:CredentialProvider._take", renew, other_answers),
    Boundary("following the kubeconfig", "watcher.cluster.cluster_config:stamps", touch_kubeconfig, other_answers),
)


async def stay_on(ship: Ship, answered: list[int]) -> None:
    """A connection to `calm` on which one request follows another, whatever happens elsewhere."""
    async with await trio.open_tcp_stream("127.0.0.1", ship.port("calm")) as stream:
        while True:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: calm\r\n\r\n")
            data = b""
            with trio.fail_after(60):
                while b"calm" not in data.partition(b"\r\n\r\n")[2]:
                    piece = await stream.receive_some()
                    assert piece, "the connection has ended"
                    data += piece
            answered.append(len(data))
            await trio.sleep(0.01)


@pytest.mark.parametrize("turn", range(SHIPS))
async def test_a_bug_ends_no_more_than_itself(turn: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of exception in turn; meanwhile a connection elsewhere is answered, and afterwards everything is."""
    seams = {boundary: Seam(monkeypatch, boundary.seam) for boundary in BOUNDARIES[turn::SHIPS]}
    async with sailing(tmp_path, monkeypatch, closed_port()) as ship, trio.open_nursery() as nursery:
        answered: list[int] = []
        nursery.start_soon(stay_on, ship, answered)
        for boundary, seam in seams.items():
            await ship.until(lambda: len(answered) > 3, "calm answers")
            seam.arm(FAULTS[: boundary.faults])
            assert await ship.soon(partial(spent, boundary, seam, ship), 60), f"{boundary.name}: it was not reached"
            await ship.until(partial(boundary.back, ship), f"{boundary.name} is back")
            answered.clear()
            await ship.until(lambda: len(answered) > 3, f"calm still answers after {boundary.name}")
            await ship.until(lambda: ship.answers("calm"), f"calm answers new connections after {boundary.name}")
        nursery.cancel_scope.cancel()


async def spent(boundary: Boundary, seam: Seam, ship: Ship) -> bool:
    await boundary.trigger(ship)
    return not seam.left
