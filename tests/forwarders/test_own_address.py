"""A pod's own address beside its sessions: which connection takes which way, and when that changes."""

from __future__ import annotations

import math
import socket
from collections.abc import AsyncIterator, Iterator
from random import Random
from typing import Never

import pytest
import trio
from trio.testing import MockClock

from forwarders.backend import Backend, Dialled
from forwarders.errors import DialError, TunnelError
from forwarders.fleet import Pools
from forwarders.spec import Endpoint, PodRef
from forwarders.system.tcp import SocketWatcher
from forwarders.tasks import Tasks
from forwarders.transports import direct
from forwarders.transports.api_server import ClusterRoute
from forwarders.transports.direct import DirectTunnel
from forwarders.transports.own_address import (
    AVOID,
    KEEP,
    LEASE,
    POD_TIMEOUT,
    REST,
    NotReachedError,
    OwnAddress,
    _PodTunnel,
)
from forwarders.transports.sockets import RawSocket
from forwarders.tunnel import Tunnel, TunnelProtocol
from tests.forwarders.cluster import Pods, pod

HERE = "127.0.0.1"


async def _yes(_pod: PodRef, _address: str) -> bool:
    return True


async def _no_session(_: PodRef) -> Never:
    raise AssertionError


class Choosing:
    """A forward to one pod whose own address is loopback; `ways` are those that its status has shown."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.pods = Pods(nursery)
        self.pods.latency = 0
        self.asked: list[str] = []
        self.answer, self.stalled, self.shown = True, False, True
        route = ClusterRoute(self.pods.open_channel, confirm=self._confirm, shown=lambda pod, address: self.shown)
        self.pools = Pools({"": route}.__getitem__, Random(0))
        self.backend = Backend(self.pools, 5.0, self._changed)
        self.ways = [""]
        self.tunnels: list[TunnelProtocol] = []

    async def _confirm(self, pod: PodRef, address: str) -> bool:
        await trio.lowlevel.checkpoint()
        self.asked.append(f"{pod.name} {address}")
        if self.stalled:
            await trio.sleep_forever()
        return self.answer

    def _changed(self) -> None:
        if self.backend.via != self.ways[-1]:
            self.ways.append(self.backend.via)

    async def serve(self, port: int, address: str = HERE) -> None:
        """The pod of the plan; returns once a session to it is open."""
        self.backend.set((Endpoint(pod("web"), port, ready=True, own_address=address),))
        while self.backend.serving is None:
            await trio.testing.wait_all_tasks_blocked()
        await self.confirm()

    async def confirm(self) -> None:
        """A connection that is given up at once, but for which the API server has said whose the address is."""
        if self.backend.serving and self.backend.serving.own_address and self.answer:
            self.dial().abort()
        await trio.testing.wait_all_tasks_blocked()

    def dial(self) -> TunnelProtocol:
        dialled = self.backend.dial()
        assert isinstance(dialled, Dialled)
        self.tunnels.append(dialled.tunnel)
        return dialled.tunnel

    async def connect(self) -> TunnelProtocol:
        """As a relay does: a dial that fails is told, and made again."""
        while True:
            tunnel = self.dial()
            if isinstance(tunnel, Tunnel):
                return tunnel
            try:
                await tunnel.confirm()
            except DialError as error:
                assert self.backend.serving is not None
                self.backend.refused(self.backend.serving, error)
            else:
                return tunnel


@pytest.fixture
async def choosing(nursery: trio.Nursery, mock_clock: MockClock) -> AsyncIterator[Choosing]:
    """Time stands still unless a test moves it."""
    choosing = Choosing(nursery)
    await nursery.start(choosing.pools.run)
    yield choosing
    for tunnel in choosing.tunnels:
        tunnel.abort()


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server((HERE, 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> Iterator[int]:
    """A port where nothing listens, which nobody else gets."""
    with socket.socket() as sock:
        sock.bind((HERE, 0))
        yield sock.getsockname()[1]


async def test_a_pod_that_is_reached(choosing: Choosing, listening: int) -> None:
    """The first connection tries the address, all others follow, and the status says so."""
    await choosing.serve(listening)
    for _ in range(3):
        assert isinstance(await choosing.connect(), DirectTunnel)
    assert choosing.ways == ["", "apiserver", "pod"]


async def test_without_an_address_nothing_is_tried(choosing: Choosing, listening: int) -> None:
    """The plan has not said that the address may be used."""
    await choosing.serve(listening, "")
    assert isinstance(await choosing.connect(), Tunnel)
    assert choosing.ways == ["", "apiserver"]


async def test_a_port_on_localhost_alone(choosing: Choosing, closed: int, mock_clock: MockClock) -> None:
    """Refused at the address: the connection takes a session, which is no refusal of the port; later it is tried."""
    await choosing.serve(closed)
    assert isinstance(await choosing.connect(), Tunnel)
    assert choosing.backend.refusal == ""
    mock_clock.jump(AVOID - LEASE / 2)
    await choosing.confirm()
    assert isinstance(choosing.dial(), Tunnel)
    mock_clock.jump(LEASE / 2)
    assert isinstance(choosing.dial(), DirectTunnel)


async def test_a_port_that_refuses_both_ways(choosing: Choosing, closed: int, mock_clock: MockClock) -> None:
    """A try of the address between two dials of the runtime that were refused does not stop these."""
    await choosing.serve(closed)
    assert isinstance(await choosing.connect(), Tunnel)
    assert choosing.backend.serving is not None
    choosing.backend.refused(choosing.backend.serving, DialError("connection refused"))
    mock_clock.jump(2 * AVOID)
    await trio.testing.wait_all_tasks_blocked()
    assert isinstance(await choosing.connect(), Tunnel)
    assert choosing.backend.dial() == math.inf  # the runtime's answer to that one is awaited


async def test_nobody_asks_for_a_port_that_is_avoided(nursery: trio.Nursery, mock_clock: MockClock) -> None:
    """The API server is asked whose the address is when the answer can be used, not before."""
    asked = []

    async def confirm(pod: PodRef, address: str) -> bool:
        asked.append(address)
        return await _yes(pod, address)

    at = Endpoint(pod("web"), 80, ready=True, own_address=HERE)
    address = OwnAddress(pod("web"), ClusterRoute(_no_session, confirm=confirm), SocketWatcher(), lambda: None)
    nursery.start_soon(address.run)
    address.dialled((HERE, 80), "")
    assert address.open(at) is None
    await trio.testing.wait_all_tasks_blocked()
    assert asked == []
    mock_clock.jump(AVOID)
    (address.open(at) or pytest.fail("no connection")).abort()
    await trio.testing.wait_all_tasks_blocked()
    assert asked == [HERE]


async def test_tries_become_rare(mock_clock: MockClock) -> None:
    """Each failed try doubles the pause, up to a bound; success forgets them."""
    at = Endpoint(pod("web"), 80, ready=True, own_address=HERE)
    address, pauses = OwnAddress(pod("web"), ClusterRoute(_no_session, confirm=_yes), SocketWatcher(), lambda: None), []
    address._confirmed, address._confirmed_until = HERE, math.inf
    for _ in range(7):
        address.dialled((HERE, 80), "")
        began = trio.current_time()
        while (tunnel := address.open(at)) is None:
            mock_clock.jump(AVOID)
        tunnel.abort()
        pauses.append(trio.current_time() - began)
    assert pauses == [30, 60, 120, 240, 480, 600, 600]
    address.dialled((HERE, 80), HERE)
    address.dialled((HERE, 80), "")
    mock_clock.jump(AVOID)
    assert address.open(at) is not None


async def test_an_address_that_is_silent(
    choosing: Choosing, listening: int, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network policy drops the SYN: after a short deadline the connection takes a session."""

    def syn_sent(address: str, port: int) -> RawSocket:
        return RawSocket(socket.socket())

    async def swallowed(sock: socket.socket) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(direct, "_connecting", syn_sent)
    monkeypatch.setattr(direct, "_writable", swallowed)
    await choosing.serve(listening)
    tunnel = choosing.dial()
    async with trio.open_nursery() as nursery:

        async def fails() -> None:
            with pytest.raises(NotReachedError, match="does not answer"):
                await tunnel.confirm()

        nursery.start_soon(fails)
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(choosing.dial(), Tunnel)  # others do not wait for the try
        mock_clock.jump(POD_TIMEOUT)
    assert isinstance(choosing.dial(), Tunnel)


async def test_only_while_the_api_server_says_whose_the_address_is(
    choosing: Choosing, listening: int, mock_clock: MockClock
) -> None:
    """Its word counts for LEASE; it is asked again while connections go there, and not while none do."""
    await choosing.serve(listening)
    assert choosing.asked == [f"web {HERE}"]
    for _ in range(3):
        assert isinstance(choosing.dial(), DirectTunnel)
        await choosing.tunnels[-1].confirm()
        mock_clock.jump(0.7 * LEASE)
        assert isinstance(choosing.dial(), DirectTunnel)
        await trio.testing.wait_all_tasks_blocked()
    assert len(choosing.asked) == 4
    mock_clock.jump(100 * LEASE)
    await trio.testing.wait_all_tasks_blocked()
    assert len(choosing.asked) == 4
    await choosing.confirm()
    assert isinstance(choosing.dial(), DirectTunnel)


async def test_who_waits_for_a_session_hears_that_none_is_needed(nursery: trio.Nursery, mock_clock: MockClock) -> None:
    """A confirmation that was missing is a change; one that renews another is none."""
    at, changes = Endpoint(pod("web"), 80, ready=True, own_address=HERE), list[None]()
    address = OwnAddress(
        pod("web"), ClusterRoute(_no_session, confirm=_yes), SocketWatcher(), lambda: changes.append(None)
    )
    nursery.start_soon(address.run)
    for count in (1, 2):
        (address.open(at) or pytest.fail("no connection")).abort()
        await trio.testing.wait_all_tasks_blocked()
        assert len(changes) == count
        mock_clock.jump(0.7 * LEASE)
        (address.open(at) or pytest.fail("no connection")).abort()
        await trio.testing.wait_all_tasks_blocked()
        assert len(changes) == count
        mock_clock.jump(2 * KEEP)
        await trio.testing.wait_all_tasks_blocked()


async def test_connections_that_come_now_and_then(choosing: Choosing, listening: int, mock_clock: MockClock) -> None:
    """The address stays confirmed between them for KEEP."""
    await choosing.serve(listening)
    for _ in range(3):
        assert isinstance(await choosing.connect(), DirectTunnel)
        for _ in range(5):
            mock_clock.jump(KEEP / 5)
            await trio.testing.wait_all_tasks_blocked()


@pytest.fixture
async def unconfirmed(choosing: Choosing, listening: int) -> Choosing:
    """The API server has not been asked yet, and does not answer while it is `stalled`."""
    choosing.answer = False
    await choosing.serve(listening)
    choosing.answer = choosing.stalled = True
    return choosing


async def test_the_first_connection_waits_for_the_confirmation(
    unconfirmed: Choosing, nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    """It may be the longest of all. Nothing is sent to the address before."""
    tunnel = unconfirmed.dial()
    assert isinstance(tunnel, DirectTunnel)
    unconfirmed.stalled = False
    assert tunnel._connected_now() is None
    await tunnel.confirm()
    assert tunnel._connected_now() is not None
    assert unconfirmed.ways[-1] == "pod"


@pytest.mark.parametrize("answers", [True, False], ids=["it says no", "it does not answer"])
async def test_a_confirmation_that_does_not_come(
    unconfirmed: Choosing, mock_clock: MockClock, *, answers: bool
) -> None:
    """The first connection takes a session at a no, or soon without an answer; others do so at once."""
    unconfirmed.answer, unconfirmed.stalled = False, not answers
    began = trio.current_time()
    tunnel = unconfirmed.dial()
    async with trio.open_nursery() as nursery:

        async def fails() -> None:
            with pytest.raises(NotReachedError, match=f"has not told whose address {HERE} is"):
                await tunnel.confirm()

        nursery.start_soon(fails)
        await trio.testing.wait_all_tasks_blocked()
        if not answers:
            mock_clock.jump(POD_TIMEOUT)
    assert trio.current_time() - began <= POD_TIMEOUT
    assert isinstance(unconfirmed.dial(), Tunnel)
    assert unconfirmed.ways[-1] == "apiserver"
    unconfirmed.answer, unconfirmed.stalled = True, False
    mock_clock.jump(LEASE)
    await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(REST)
    await trio.testing.wait_all_tasks_blocked()
    assert isinstance(await unconfirmed.connect(), DirectTunnel)  # nothing is remembered against the port


@pytest.mark.parametrize("answers", [True, False], ids=["it says no", "it does not answer"])
async def test_an_address_that_is_no_longer_the_pods(
    choosing: Choosing, listening: int, mock_clock: MockClock, *, answers: bool
) -> None:
    """The watch says nothing yet: another pod has the address, or the API server is stalled and nobody can know."""
    await choosing.serve(listening)
    await (await choosing.connect()).confirm()
    choosing.answer = False
    choosing.stalled = not answers
    mock_clock.jump(LEASE)
    for _ in range(3):
        assert isinstance(choosing.dial(), Tunnel)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(LEASE)
    choosing.answer, choosing.stalled = True, False
    await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(REST)
    await choosing.confirm()
    assert isinstance(choosing.dial(), DirectTunnel)


async def test_a_try_that_is_given_up(choosing: Choosing, listening: int) -> None:
    """Its client left before anything was known: the next connection tries."""
    await choosing.serve(listening)
    choosing.dial().abort()
    assert isinstance(choosing.dial(), DirectTunnel)


async def test_a_pod_that_stops_answering_there(choosing: Choosing, mock_clock: MockClock) -> None:
    """It was reached once, and is not any more: sessions again, and the status says so."""
    with socket.create_server((HERE, 0)) as server:
        port = server.getsockname()[1]
        await choosing.serve(port)
        assert isinstance(await choosing.connect(), DirectTunnel)
    assert isinstance(await choosing.connect(), Tunnel)
    assert choosing.ways == ["", "apiserver", "pod", "apiserver"]


async def test_not_without_the_right_to_forward(choosing: Choosing, listening: int, mock_clock: MockClock) -> None:
    """Where the API server opens no session, the address is no way round; nor where the right is taken away later."""
    choosing.pods.refusing = True
    choosing.backend.set((Endpoint(pod("web"), listening, ready=True, own_address=HERE),))
    await trio.testing.wait_all_tasks_blocked()
    assert choosing.backend.serving is None
    assert choosing.backend.dial() == float("inf")
    choosing.pods.refusing = False
    mock_clock.jump(10)
    await choosing.serve(listening)
    pool = choosing.pools.want(pod("web"), lambda: None, running=True)
    pool.forbidden = True
    assert isinstance(choosing.dial(), Tunnel)


async def test_another_pod_with_the_address(choosing: Choosing, listening: int) -> None:
    """The plan has taken the address away (deleted, replaced, another pod has it now): no connection goes there."""
    await choosing.serve(listening)
    assert isinstance(await choosing.connect(), DirectTunnel)
    choosing.backend.set((Endpoint(pod("web"), listening, ready=True),))
    assert isinstance(choosing.dial(), Tunnel)
    assert choosing.ways[-1] == "apiserver"


async def test_the_watch_counts_before_the_plan_does(choosing: Choosing, listening: int) -> None:
    """The watch says that the pod is deleting: no connection goes there, although the plan has not changed yet."""
    await choosing.serve(listening)
    assert isinstance(await choosing.connect(), DirectTunnel)
    choosing.shown = False
    assert isinstance(choosing.dial(), Tunnel)
    choosing.shown = True
    assert isinstance(choosing.dial(), DirectTunnel)  # and nothing is remembered against the address


async def test_a_stranger_at_the_address_gets_no_byte(choosing: Choosing) -> None:
    """The pod goes while the connection to its address is made, and another machine answers there."""
    with socket.create_server((HERE, 0)) as server:
        await choosing.serve(server.getsockname()[1])
        tunnel = choosing.dial()
        choosing.shown = False
        with pytest.raises(NotReachedError, match="is not the pod's address any more"):
            await tunnel.write(b"secret")
        tunnel.abort()
        stranger, _ = server.accept()
        with stranger:
            assert stranger.recv(10) == b""
    assert isinstance(await choosing.connect(), Tunnel)


async def test_a_connection_that_goes_another_way(
    choosing: Choosing, listening: int, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The route to a pod that is gone is gone too, and a gateway takes the connection: our own address tells."""
    await choosing.serve(listening)
    assert isinstance(await choosing.connect(), DirectTunnel)
    source = "192.0.2.2"
    monkeypatch.setattr(_PodTunnel, "_source", lambda self, remote: source)
    with pytest.raises(NotReachedError, match="is not the pod's address any more"):
        await choosing.dial().write(b"secret")
    assert isinstance(choosing.dial(), Tunnel)
    mock_clock.jump(AVOID)  # the machine's routes have changed: that is the way now
    await choosing.confirm()
    assert isinstance(await choosing.connect(), DirectTunnel)


async def test_an_end_of_the_connection_is_the_pods(choosing: Choosing, listening: int) -> None:
    """After bytes came, an error is one of this connection alone."""
    with socket.create_server((HERE, 0)) as server:
        await choosing.serve(server.getsockname()[1])
        tunnel = choosing.dial()
        await tunnel.confirm()
        far, _ = server.accept()
        RawSocket(far).reset()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            async with trio.open_nursery() as nursery:
                with Tasks(nursery) as tasks:
                    tunnel.copy_to(RawSocket(ours), tasks, lambda: None)
                    await tunnel.wait_finished()
                    tasks.cancel()
    assert isinstance(tunnel.error, TunnelError)
    assert not isinstance(tunnel.error, DialError)
