"""Pods that are replaced in every way beside steady new connections: none fails, over either transport.

The application notes every request that reaches it. A request that failed although it was noted failed inside the
application, whose pod was killed meanwhile. Portside can neither see nor mend that, so it is counted apart.
"""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
import yaml

from fixtures.cluster.bed import Bed
from fixtures.net.gateway import Gateway
from forwarders.transports.opener import Transport
from tests.support.objects import Manifest, apply, deployment, rolled_out
from tests.support.probe import Answer, get, outcome
from tests.support.process import portside

pytestmark = [pytest.mark.cluster, pytest.mark.every_bed("pods replaced: no connection fails")]

AT_LEAST = 20.0  # seconds of connections to each application
LAST_WORDS = 20_000  # characters of portside's log
# Seconds between two connections to one application, of which there are four. Three runs at 50 ms are the bar; one at
# a quarter of that pace is what a machine has time for that does other things, too.
BAR = [pytest.param(0.05, marks=pytest.mark.long, id=f"50ms-{run}") for run in (1, 2, 3)]
PACE = pytest.mark.parametrize("interval", [pytest.param(0.2, id="200ms"), *BAR])
# Connections a second to all applications, beside everything else that two CPUs do: dockershim starts two programs for
# each. Where all applications together want more, they take turns.
AFFORDABLE = 20


@dataclass
class Requests:
    """What became of the requests to one application, by their ids."""

    app: str
    port: int
    interval: float
    found: dict[str, Answer | str] = field(default_factory=dict)
    over: trio.Event = field(default_factory=trio.Event)

    async def run(self) -> None:
        """A new connection each interval until the pods were replaced, for AT_LEAST at least."""
        number, began = 0, trio.current_time()
        async with trio.open_nursery() as nursery:
            while trio.current_time() < began + AT_LEAST or not self.over.is_set():
                nursery.start_soon(self._request, f"{self.app}-{number}")
                number += 1
                await trio.sleep_until(began + number * self.interval)

    async def _request(self, ident: str) -> None:
        self.found[ident] = await outcome(get(self.port, f"/count?id={ident}", method="POST"))

    def failed(self) -> dict[str, str]:
        """The requests without a good answer, and what came instead."""
        return {
            ident: answer if isinstance(answer, str) else f"status {answer[0]}"
            for ident, answer in self.found.items()
            if isinstance(answer, str) or answer[0] != 200
        }


Kubectl = Callable[..., Awaitable[str]]


async def roll_out_twice(kubectl: Kubectl, app: str) -> None:
    for _ in range(2):
        await roll_out(kubectl, app)


async def roll_out(kubectl: Kubectl, app: str) -> None:
    await kubectl("rollout", "restart", f"deployment/{app}")
    await kubectl("rollout", "status", f"deployment/{app}", "--timeout=60s")


async def delete_by_force(kubectl: Kubectl, app: str) -> None:
    await kubectl("delete", "pod", "-l", f"app={app}", "--grace-period=0", "--force")
    await kubectl("rollout", "status", f"deployment/{app}", "--timeout=60s")


# How each application's pod is replaced. `late`: a pod that is Ready 3 s before it listens.
CHANGES = {"web": roll_out_twice, "forced": delete_by_force, "recreated": roll_out, "late": roll_out}


def applications(record: Path) -> list[Manifest]:
    """One for each change; they note every request in a file that outlives their pods."""
    made = {name: deployment(name, COUNT_FILE="/record/ids") for name in ("web", "forced", "recreated")}
    made["late"] = deployment("late", probe=False, LISTEN_DELAY="3s", COUNT_FILE="/record/ids")
    made["recreated"]["spec"]["strategy"] = {"type": "Recreate"}
    for manifest in made.values():
        pod = manifest["spec"]["template"]["spec"]
        pod["containers"][0]["volumeMounts"] = [{"name": "record", "mountPath": "/record"}]
        pod["volumes"] = [{"name": "record", "hostPath": {"path": str(record), "type": "Directory"}}]
    return list(made.values())


@asynccontextmanager
async def environment_for(bed: Bed, transport: Transport, folder: Path) -> AsyncIterator[dict[str, str]]:
    """The bed's environment, for WebSocket with a gateway before the API server that drops SPDY."""
    if transport is Transport.SPDY:
        yield bed.environment()
        return
    config = yaml.safe_load(bed.kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0].pop("user")
    tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
    tls.load_cert_chain(user["client-certificate"], user["client-key"])
    url = urlsplit(cluster["server"])
    gateway = Gateway((url.hostname or "", url.port or 0), tls)
    async with trio.open_nursery() as nursery:
        await nursery.start(gateway.serve)
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{gateway.port}"}
        config["users"][0]["user"] = {}
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        yield bed.environment() | {"KUBECONFIG": str(path)}
        assert gateway.dropped
        nursery.cancel_scope.cancel()


@PACE
@pytest.mark.parametrize("transport", Transport, ids=lambda transport: transport.value)
async def test_no_connection_fails_while_pods_are_replaced(
    bed: Bed, space: str, tmp_path: Path, transport: Transport, interval: float
) -> None:
    """Two rollouts, a forced delete, Recreate, and a rollout to a pod that listens 3 s late; nothing arrives twice."""
    record = tmp_path / "record"
    record.mkdir(mode=0o777)
    apply(bed, space, *applications(record))
    rolled_out(bed, space, *CHANGES)

    async def kubectl(*arguments: str) -> str:
        return await trio.to_thread.run_sync(partial(bed.kubectl, "-n", space, *arguments, timeout=90))

    async def change(requests: Requests) -> None:
        await CHANGES[requests.app](kubectl, requests.app)
        requests.over.set()

    words = [word for app in CHANGES for word in (f"deploy/{app}", ":8080")]
    async with (
        environment_for(bed, transport, tmp_path) as environment,
        portside("forward", "-vv", "-n", space, *words, environment=environment) as running,
    ):
        everything = [Requests(app, (await running.ready(app))["localPort"], interval) for app in CHANGES]
        turns = trio.CapacityLimiter(round(AFFORDABLE * interval))

        async def judge(requests: Requests) -> None:
            async with turns, trio.open_nursery() as nursery:
                nursery.start_soon(requests.run)
                nursery.start_soon(change, requests)

        async with trio.open_nursery() as nursery:
            for requests in everything:
                nursery.start_soon(judge, requests)
    arrived = Counter((record / "ids").read_text().split())
    failed = {ident: what for requests in everything for ident, what in requests.failed().items()}
    in_the_app = failed.keys() & arrived.keys()
    print(running.stderr[-LAST_WORDS:])  # noqa: T201 - pytest shows it beside a failure
    print(f"{transport.value}: {sum(len(r.found) for r in everything)} requests, {len(in_the_app)} failed in the app")  # noqa: T201 - pytest shows it beside a failure
    assert not {ident: what for ident, what in failed.items() if ident not in in_the_app}
    assert not {ident: times for ident, times in arrived.items() if times > 1}
