"""A pod's sandbox is gone: the pod may have another one, under the same uid, or have ended."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from forwarders.backoff import GONE_FOR
from forwarders.errors import DialError
from forwarders.session import RETIRE_TIMEOUT
from forwarders.session_set import TEST_PORT
from forwarders.spec import State
from tests.forwarders.choosing import Choosing
from tests.forwarders.cluster import endpoint, greeter
from tests.forwarders.peer import Peer, PeerStream
from tests.forwarders.running import Running, ask
from tests.forwarders.streams import receive_pieces
from tests.forwarders.wanting import POD, Wanting, connect, settled

GONE = 'network namespace for sandbox "a" is closed'


async def gone(stream: PeerStream) -> None:
    """What the runtime does with every dial."""
    stream.refuse(GONE)


@pytest.mark.parametrize("count", [4, 20])
async def test_the_next_session_replaces_all(wanting: Wanting, autojump_clock: MockClock, count: int) -> None:
    """One dial tells it for all sessions: no new connection gets an old one, and those that are open stay."""
    pool = wanting.want()
    await settled()
    tunnels = await connect(pool, count)
    old = wanting.pods.standing("web")
    refused, *others = [await peer.accept() for peer in old for _ in peer.streams]
    refused.refuse(GONE)
    await settled()
    assert sum(isinstance(tunnel.error, DialError) for tunnel in tunnels) == 1
    new = await connect(pool, 2)
    assert sum(len(peer.streams) for peer in wanting.pods.standing("web") if peer not in old) == 2
    for stream in others:
        await stream.send_all(b"still served")
    for tunnel in tunnels:
        if not tunnel.finished:
            assert await receive_pieces(tunnel) == [b"still served"]
    for tunnel in (*tunnels, *new):
        tunnel.abort()
    await trio.sleep(RETIRE_TIMEOUT + 1)
    assert all(peer.closed for peer in old)
    assert pool.up


async def test_a_sandbox_that_stays_gone_costs_few_sessions(wanting: Wanting, autojump_clock: MockClock) -> None:
    """Until the kubelet has made another one, new sessions are connected to the old one; then the pod is reached."""
    wanting.pods.apps["web"] = gone
    pool = wanting.want()
    await settled()
    made = trio.current_time() + 10
    while trio.current_time() < made:
        if session := pool.take():
            await session.open(80).wait_finished()
        await trio.sleep(0.1)
    assert len(wanting.pods.opens) <= 25  # some two a second
    wanting.pods.apps["web"] = greeter("web")
    with trio.fail_after(5):
        while True:
            if session := pool.take():
                tunnel = session.open(80)
                await tunnel.wait_finished()
                if tunnel.received:
                    break
            await trio.sleep(0.1)


async def test_a_dial_hangs_while_another_one_tells(
    wanting: Wanting, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """Both were under way when the pod ended, and it gets no other session: the one that hangs is given back."""
    pool = wanting.want()
    await settled()
    told, hung = await connect(pool, 2)
    peers = wanting.pods.standing("web")
    streams = [await peer.accept() for peer in peers if peer.streams]

    async def refuse_tests(peer: Peer) -> None:
        while True:
            stream = await peer.accept()
            assert stream.port == TEST_PORT
            stream.refuse(GONE)

    for peer in peers:
        nursery.start_soon(refuse_tests, peer)
    wanting.pods.refusing = True
    streams[0].refuse(GONE)
    await trio.sleep(0.3)
    wanting.pools.leave(POD, wanting.changed)
    for tunnel in (told, hung):
        with trio.fail_after(4):
            await tunnel.wait_finished()
        assert isinstance(tunnel.error, DialError)
    nursery.cancel_scope.cancel()


async def test_another_pod_serves_at_once(choosing: Choosing, autojump_clock: MockClock) -> None:
    """However long the next session to the pod that has ended takes to fail."""
    backend = choosing.backend
    backend.set((endpoint("a"), endpoint("b")))
    await settled()
    dialled = backend.dial()
    assert not isinstance(dialled, float)
    await trio.sleep(0.01)
    [stream] = [await peer.accept() for peer in choosing.pods.standing("a") if peer.streams]
    choosing.pods.latency = 30.0
    stream.refuse(GONE)
    await dialled.tunnel.wait_finished()
    error = dialled.tunnel.error
    assert isinstance(error, DialError)
    choosing.pods.latency = 0.01
    backend.refused(dialled.endpoint, error)
    await settled()
    assert backend.serving == endpoint("b")


async def test_the_state_stays_while_it_is_gone(running: Running, autojump_clock: MockClock) -> None:
    """The forward says once what the runtime said, however many sessions are tried."""
    running.pods.apps["a"] = gone
    port = await running.start(endpoint("a"))
    await running.until(State.READY)
    running.forget()
    with trio.move_on_after(4):
        await ask(port)
    assert set(running.states()) <= {State.READY}
    assert {status.reason.partition(":")[0] for status in running.statuses} == {"pod a has ended"}


async def test_a_pod_with_another_sandbox_serves_again(running: Running, autojump_clock: MockClock) -> None:
    """Also where its endpoint did not change (publishNotReadyAddresses): it gave way to the second pod for a while."""
    running.pods.apps = {"a": greeter("a"), "b": greeter("b")}
    port = await running.start(endpoint("a"), endpoint("b"))
    await running.until(State.READY)
    assert await ask(port) == b"a"
    running.pods.apps["a"] = gone
    assert await ask(port) == b"b"
    running.pods.apps["a"] = greeter("a")
    await trio.sleep(GONE_FOR / 2)
    assert await ask(port) == b"b"
    await trio.sleep(GONE_FOR)
    assert await ask(port) == b"a"
