"""Sessions by the transport that works: chosen, remembered, left again; on the embedded cluster and in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.access import Rule
from fixtures.embedded.apps import standard
from fixtures.embedded.portforward import SPDY, WEBSOCKET, Fault
from forwarders.errors import (
    BrokenOffError,
    ForbiddenError,
    RefusedError,
    TransportError,
    UnreachableError,
)
from forwarders.spec import PodRef
from forwarders.transports import opener
from forwarders.transports.api_server import ApiServer, Headers
from forwarders.transports.opener import DOUBTS, PAUSE, Opener, Transport, open_by, probe
from tests.cluster_client.test_credentials import plugin
from tests.transports.net import POD, Net, head, no_headers, saying, server
from watcher.cluster.cluster_config import load_cluster_config

HERE, GONE = PodRef("default", "app", "uid"), PodRef("default", "gone", "uid")


class Stage:
    """A cluster with a pod, and an opener as some user."""

    def __init__(self, cluster: EmbeddedCluster, folder: Path) -> None:
        self.cluster = cluster
        self.faults = cluster.port_forwards.faults
        self._folder = folder

    async def server(self, *verbs: str, namespace: str = "*") -> ApiServer:
        """As the admin, or as a user with these verbs on pods/portforward."""
        token = self.cluster.access.grant("ann", Rule(verbs, ("pods/portforward",), namespace)) if verbs else ""
        return (
            await load_cluster_config(str(self.cluster.kubeconfig(self._folder / "kubeconfig", token)), None)
        ).server

    def asked(self) -> tuple[int, int]:
        """Requests by SPDY and by WebSocket so far."""
        asked = self.cluster.port_forwards.asked
        return asked[SPDY], asked[WEBSOCKET]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with EmbeddedCluster.open() as cluster:
        await cluster.pod("app", standard("hello"))
        yield Stage(cluster, tmp_path)


async def opened(by: Opener, pod: PodRef = HERE) -> None:
    channel, _ = await by.open(pod)
    channel.close()


@pytest.mark.parametrize("transport", list(Transport))
async def test_each_transport_works(stage: Stage, transport: Transport) -> None:
    """A session opens and its runtime answers a PING; nothing is dialled in the pod."""
    probed = await probe(transport, await stage.server(), HERE)
    assert probed.round_trip > 0
    assert probed.opened > 0


async def test_spdy_comes_first(stage: Stage) -> None:
    """The cheaper one; the other is not tried while it works."""
    by = Opener(await stage.server())
    for _ in range(3):
        await opened(by)
    assert stage.asked() == (3, 0)


@pytest.mark.parametrize("fault", ["strip", "close", "gateway"])
async def test_a_proxy_that_drops_upgrades(stage: Stage, fault: Fault) -> None:
    """The WebSocket at once, and from then on first."""
    stage.faults[SPDY] = fault
    by = Opener(await stage.server())
    for _ in range(4):
        await opened(by)
    assert stage.asked() == (1, 4)


async def test_it_stops_working(stage: Stage) -> None:
    """A transport that is barred later is left in that very moment, in either direction, again and again."""
    by = Opener(await stage.server())
    await opened(by)
    for barred, free in ((SPDY, WEBSOCKET), (WEBSOCKET, SPDY), (SPDY, WEBSOCKET)):
        stage.faults.pop(free, None)
        stage.faults[barred] = "strip"
        await opened(by)
    assert stage.asked() == (4, 3)


async def test_one_that_has_worked_is_not_left_for_a_broken_connection(stage: Stage) -> None:
    """An API server that restarts breaks connections off; only a row of them is a sign."""
    by = Opener(await stage.server())
    await opened(by)
    stage.faults[SPDY] = "close"
    for _ in range(DOUBTS - 1):
        with pytest.raises(BrokenOffError):
            await opened(by)
    assert stage.asked()[1] == 0
    await opened(by)
    assert stage.asked() == (1 + DOUBTS, 1)


async def test_where_both_fail_they_do_not_alternate(stage: Stage) -> None:
    """Failed tunnels leak in old runtimes: one is tried, the other beside it once in a while; each reason is told."""
    stage.faults |= {SPDY: "strip", WEBSOCKET: "close"}
    by = Opener(await stage.server())
    for _ in range(2 * (PAUSE + 1)):
        with pytest.raises(TransportError, match=r"SPDY: .*Upgrade request required.*; WebSocket: .*closed before"):
            await opened(by)
    assert stage.asked() == (2 * (PAUSE + 1), 2)
    stage.faults.clear()
    await opened(by)
    assert stage.asked()[1] == 2


@pytest.mark.parametrize("first", list(Transport))
async def test_failures_of_a_pod_change_nothing(stage: Stage, first: Transport) -> None:
    """404, 400 and 500 about the pod are said as they are, by the transport that was chosen."""
    by = Opener(await stage.server())
    if first is Transport.WEBSOCKET:
        stage.faults[SPDY] = "strip"
        await opened(by)
        stage.faults.clear()
    await stage.cluster.pod("unscheduled", scheduled=False)
    done = await stage.cluster.pod("done", standard(""))
    done.finish()
    before = stage.asked()
    for name, status in (("gone", 404), ("unscheduled", 400), ("done", 500)):
        with pytest.raises(RefusedError) as raised:
            await opened(by, PodRef("default", name, "uid"))
        assert raised.value.status == status
    after = stage.asked()
    unasked = 1 if first is Transport.SPDY else 0
    assert after[unasked] == before[unasked]


@pytest.mark.parametrize(("verb", "wanted"), [("create", (2, 0)), ("get", (0, 2))])
async def test_one_verb_is_enough(stage: Stage, verb: str, wanted: tuple[int, int]) -> None:
    """POST is `create`, GET is `get`: whichever RBAC allows is found, with one refusal at most."""
    by = Opener(await stage.server(verb))
    await opened(by)
    await opened(by)
    assert stage.asked() == wanted  # what RBAC refuses does not get that far


async def test_no_verb_at_all(stage: Stage) -> None:
    """The error names both verbs, the user and the namespace; with the right given later it works."""
    by = Opener(await stage.server("list"))
    for _ in range(3):
        with pytest.raises(ForbiddenError) as raised:
            await opened(by)
        assert str(raised.value) == (
            "user ann may not forward to pods in namespace default: RBAC lacks create (for SPDY) or get "
            "(for WebSocket) on pods/portforward"
        )
    stage.cluster.access.restrict("ann", Rule(("create",), ("pods/portforward",)))
    await opened(by)


async def test_a_proxy_and_a_missing_verb(stage: Stage) -> None:
    """Where SPDY is dropped and `get` is missing, both are said."""
    stage.faults[SPDY] = "strip"
    by = Opener(await stage.server("create"))
    with pytest.raises(TransportError, match=r"SPDY: .*Upgrade request required; WebSocket: .* cannot get resource"):
        await opened(by)


async def test_rights_differ_by_namespace(stage: Stage) -> None:
    """Each namespace has its own choice; none makes another one forget."""
    await stage.cluster.pod("app", standard(""), namespace="other")
    there = PodRef("other", "app", "uid")
    server = await stage.server("create", namespace="default")
    stage.cluster.access.restrict(
        "ann", Rule(("create",), ("pods/portforward",), "default"), Rule(("get",), ("pods/portforward",), "other")
    )
    by = Opener(server)
    for _ in range(3):
        await opened(by, HERE)
        await opened(by, there)
    assert stage.asked() == (3, 3)


# Credentials


async def test_an_expired_token_is_renewed_once_for_fifty(stage: Stage, tmp_path: Path) -> None:
    """Fifty sessions that meet a 401 run the plugin once and then all stand."""
    token = stage.cluster.access.grant("ann", Rule(("*",), ("*",)))
    (tmp_path / "token").write_text(token)
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    code = f"print(json.dumps({answer!r} | {{'status': {{'token': open({str(tmp_path / 'token')!r}).read()}}}}))"
    path = stage.cluster.kubeconfig(tmp_path / "kubeconfig")
    config = json.loads(path.read_text())
    config["users"][0]["user"] = plugin(tmp_path, code)
    path.write_text(json.dumps(config))
    by = Opener((await load_cluster_config(str(path), None)).server)
    stage.cluster.access.revoke(token)
    (tmp_path / "token").write_text(stage.cluster.access.grant("ann", Rule(("*",), ("*",))))
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(opened, by)
    assert (tmp_path / "asked").read_text() == "xx"  # once by load, once for all of them


async def test_what_somebody_else_has_renewed_is_used(net: Net) -> None:
    """A 401 to an old header asks for no third one where a new one stands already."""
    renewals = 0
    header = "Bearer old"

    async def authorize(renew: bool) -> Headers:  # noqa: FBT001 - ApiServer's signature
        nonlocal renewals
        renewals += renew
        return [("Authorization", header)]

    async def answer(stream: trio.abc.Stream) -> None:
        nonlocal header
        request = await head(stream)
        if dict(request.headers)[b"authorization"] == b"Bearer old":
            header = "Bearer new"
            await stream.send_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            return
        await stream.send_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")

    net.handlers["api.test", 6443] = answer
    await open_by(Transport.SPDY, ApiServer("api.test", 6443, "", None, "api.test", authorize), POD)
    assert renewals == 0


async def test_the_same_header_is_not_refused_twice(net: Net) -> None:
    """A renewal that gives what was refused costs the API server no second request."""
    asked = 0

    async def authorize(renew: bool) -> Headers:  # noqa: FBT001 - ApiServer's signature
        return [("Authorization", "Bearer dead")]

    async def refuse(stream: trio.abc.Stream) -> None:
        nonlocal asked
        asked += 1
        await head(stream)
        await stream.send_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")

    net.handlers["api.test", 6443] = refuse
    with pytest.raises(RefusedError):
        await open_by(Transport.SPDY, ApiServer("api.test", 6443, "", None, "api.test", authorize), POD)
    assert asked == 1


@pytest.mark.parametrize("transport", list(Transport))
async def test_credentials_refused_for_good(stage: Stage, transport: Transport) -> None:
    """A 401 after the renewal too is reported, and is no reason to change the transport."""
    server = await stage.server("create")
    stage.cluster.access._tokens.clear()
    with pytest.raises(RefusedError, match="Unauthorized"):
        await open_by(transport, server, HERE)


# Time


async def test_an_upgrade_that_is_never_answered(net: Net, autojump_clock: MockClock) -> None:
    """It has its deadline; then the other transport is tried, which some such proxies let through."""

    async def swallow_spdy(stream: trio.abc.Stream) -> None:
        if (await head(stream)).method == b"POST":
            await trio.sleep_forever()
        await stream.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n")
        await stream.send_all(b'{"kind":"Status"}')

    net.handlers["api.test", 6443] = swallow_spdy
    began = trio.current_time()
    with pytest.raises(RefusedError):
        await Opener(server()).open(POD)
    assert trio.current_time() - began == pytest.approx(opener.UPGRADE_TIMEOUT)
    assert net.left_open == 0


async def test_credentials_that_never_come(net: Net, autojump_clock: MockClock) -> None:
    """A plugin that hangs has a deadline here too."""

    async def authorize(renew: bool) -> Headers:  # noqa: FBT001 - ApiServer's signature
        await trio.sleep_forever()
        raise AssertionError

    began = trio.current_time()
    with pytest.raises(UnreachableError, match="no credentials"):
        await Opener(ApiServer("api.test", 6443, "", None, "api.test", authorize)).open(POD)
    assert trio.current_time() - began == pytest.approx(opener.CREDENTIALS_TIMEOUT)
    assert not net.connected


@pytest.mark.parametrize(
    "answer",
    ["SSH-2.0-OpenSSH_9.2", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c", "\x00\x01"],
    ids=["no HTTP", "another upgrade", "noise"],
)
async def test_an_answer_that_is_none(net: Net, answer: str) -> None:
    """Whatever answers, by either transport: our error, no traceback, no open socket."""
    net.handlers["api.test", 6443] = saying(answer)
    with pytest.raises(TransportError):
        await Opener(server()).open(POD)
    assert net.left_open == 0


async def test_a_session_that_opens_and_does_not_answer(net: Net, autojump_clock: MockClock) -> None:
    """A probe tells it from one that works."""
    net.handlers["api.test", 6443] = saying(
        "HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: SPDY/3.1", end=False
    )
    target = ApiServer("api.test", 6443, "", None, "api.test", no_headers)
    with pytest.raises(BrokenOffError, match="SPDY was opened but does not answer"):
        await probe(Transport.SPDY, target, POD)
    assert net.left_open == 0
