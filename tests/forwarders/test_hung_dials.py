"""Connections whose dial hangs while their pod goes away: they are given back only if nobody can have taken them."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from forwarders.errors import DialError
from forwarders.session import Session
from forwarders.session_set import (
    TEST_PORT,
)
from tests.forwarders.peer import Peer
from tests.forwarders.streams import receive_pieces
from tests.forwarders.wanting import POD, Wanting, connect, settled


async def refuse_tests(peer: Peer) -> None:
    """What the runtime answers to test dials when the sandbox is gone."""
    while True:
        stream = await peer.accept()
        assert stream.port == TEST_PORT
        stream.refuse("container not running (733a108b89a4)")


async def test_a_dial_that_hangs_in_a_pod_that_is_gone(
    wanting: Wanting, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """What the runtime never took is given back as a failed dial within 4 s; then the session ends."""
    pool = wanting.want()
    await settled()
    [tunnel] = await connect(pool, 1)
    await tunnel.write(b"GET ")
    await tunnel.write(b"/")  # the peer's stream holds one payload for its reader, its worker the next
    await trio.sleep(30)
    peer = next(peer for peer in wanting.pods.standing("web") if peer.streams)
    await peer.accept()
    nursery.start_soon(refuse_tests, peer)
    wanting.pools.leave(POD, wanting.changed)
    with trio.fail_after(4), pytest.raises(DialError):
        await receive_pieces(tunnel)
    await settled()
    assert pool.take() is None


async def test_a_hung_dial_whose_bytes_are_in_a_pipe(wanting: Wanting, autojump_clock: MockClock) -> None:
    """The runtime took them before it dialled (socat), and others share the session: given back in 2 s all the same."""
    pool = wanting.want()
    await settled()
    session = pool.take()
    assert isinstance(session, Session)
    hung, answered = session.open(80), session.open(81)
    [peer] = wanting.pods.standing("web")
    streams = {stream.port: stream for stream in (await peer.accept(), await peer.accept())}
    await hung.write(b"GET /")
    assert await streams[80].receive_some() == b"GET /"
    await streams[81].send_all(b"hello")
    wanting.pools.leave(POD, wanting.changed)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse_tests, peer)
        with trio.fail_after(2), pytest.raises(DialError) as raised:
            await receive_pieces(hung)
        assert raised.value.sandbox_gone
        assert await receive_pieces(answered) == [b"hello"]
        assert not answered.finished
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("what", ["refuses", "hangs too"])
async def test_a_silent_connection_to_a_pod_that_ends_slowly(
    wanting: Wanting, autojump_clock: MockClock, what: str
) -> None:
    """While the sandbox is there its application may still answer: the connection is left alone."""
    pool = wanting.want()
    await settled()
    [tunnel] = await connect(pool, 1)
    peer = wanting.pods.standing("web")[0]
    stream = await peer.accept()
    await tunnel.write(b"GET /")
    assert await stream.receive_some() == b"GET /"
    wanting.pools.leave(POD, wanting.changed)
    with trio.move_on_after(10):
        while True:
            asking = await peer.accept()
            if what == "refuses":
                asking.refuse()
    await stream.send_all(b"late")
    assert await receive_pieces(tunnel) == [b"late"]


@pytest.mark.parametrize("case", ["the application has it", "others share the session", "the pod is wanted"])
async def test_what_may_have_been_taken_is_not_given_back(
    wanting: Wanting, autojump_clock: MockClock, case: str
) -> None:
    """A slow answer, a session with other connections on it and a pod that is wanted are left alone."""
    pool = wanting.want()
    await settled()
    [tunnel] = await connect(pool, 1)
    session = next(s for s in pool._sessions if s.load)
    await tunnel.write(b"GET /")
    stream = await wanting.pods.standing("web")[0].accept()
    if case == "the application has it":
        assert await stream.receive_some() == b"GET /"
    if case == "others share the session":
        session.open(80)
    if case != "the pod is wanted":
        wanting.pools.leave(POD, wanting.changed)
    with trio.move_on_after(60) as waited:
        await receive_pieces(tunnel)
    assert waited.cancelled_caught
    assert session.load


@pytest.mark.parametrize("count", [3, 4])
async def test_hung_dials_that_leave_no_room_for_a_connection(
    wanting: Wanting, autojump_clock: MockClock, nursery: trio.Nursery, count: int
) -> None:
    """Each keeps a worker of the session for good: the one that is left is enough for a test."""
    pool = wanting.want()
    await settled()
    session = pool.take()
    assert isinstance(session, Session)
    tunnels = []
    for _ in range(count):
        tunnels.append(session.open(80))
        for payload in (b"GET ", b"/"):
            await tunnels[-1].write(payload)
        await settled()
    assert not session.usable
    for peer in wanting.pods.standing("web"):
        for _ in range(count if peer.streams else 0):
            await peer.accept()
        nursery.start_soon(refuse_tests, peer)
    wanting.pools.leave(POD, wanting.changed)
    for tunnel in tunnels:
        with trio.fail_after(6), pytest.raises(DialError):
            await receive_pieces(tunnel)
    await trio.sleep(5)
    assert not wanting.pods.standing("web")
