"""Sessions for connections on trio's own clock: one ahead of need, own ones while there are few, bounded sharing."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from forwarders import session_set as module
from forwarders.pool import OWN_PATIENCE, Pool
from forwarders.session import Session
from forwarders.session_set import (
    MAX_OPENING,
    OWN_SESSIONS,
    SHARED,
    SHORT,
    SHORT_IN_A_ROW,
)
from forwarders.tunnel import Tunnel
from tests.forwarders.cluster import endpoint
from tests.forwarders.peer import PeerStream
from tests.forwarders.streams import receive_pieces
from tests.forwarders.wanting import Wanting, connect, settled


async def test_a_session_stands_before_it_is_needed(wanting: Wanting, autojump_clock: MockClock) -> None:
    """Wanting a pod opens one session, and only one; the listener hears of it."""
    pool = wanting.want()
    before = pool.up
    await settled()
    assert (before, pool.up) == (False, True)
    assert len(wanting.pods.opens) == 1
    assert wanting.changes > 0
    await trio.sleep(1000)
    assert len(wanting.pods.opens) == 1


async def test_few_connections_have_sessions_of_their_own(wanting: Wanting, autojump_clock: MockClock) -> None:
    """Up to OWN_SESSIONS connections share nothing; beyond that they share within the bound, with a room to spare."""
    pool = wanting.want()
    await settled()
    await connect(pool, OWN_SESSIONS)
    loads = [len(peer.streams) for peer in wanting.pods.standing("web")]
    assert loads == [1] * OWN_SESSIONS
    await connect(pool, 40)
    loads = [len(peer.streams) for peer in wanting.pods.standing("web")]
    assert sum(loads) == OWN_SESSIONS + 40
    assert max(loads) <= SHARED
    assert len(loads) * SHARED - sum(loads) >= SHARED


async def test_beyond_those_another_is_opened_only_where_room_is_short(
    wanting: Wanting, autojump_clock: MockClock
) -> None:
    """All share OWN_SESSIONS and one more, as long as so many have SHARED places left."""
    pool = wanting.want()
    await settled()
    await connect(pool, OWN_SESSIONS * SHARED)
    assert len(wanting.pods.opens) == OWN_SESSIONS + 1
    await connect(pool, 1)
    assert len(wanting.pods.opens) == OWN_SESSIONS + 2


@pytest.mark.parametrize("what", ["near", "far", "in trouble", "hangs", "many"])
async def test_connections_that_come_together(wanting: Wanting, autojump_clock: MockClock, what: str) -> None:
    """Each waits for a session of its own where that takes a moment; they share at once where it may take longer."""
    wanting.pods.latency = 0.014 if what != "far" else 0.2
    pool = wanting.want()
    await settled()
    if what == "in trouble":
        wanting.pods.failure = "no route"
        await connect(pool, 1)
    if what == "hangs":
        wanting.pods.latency = 10.0
    waited: list[float] = []

    async def connection() -> None:
        began = trio.current_time()
        with trio.move_on_after(OWN_PATIENCE):
            while pool.own_session_comes(endpoint("web")):
                await wanting.news.wait()
        waited.append(trio.current_time() - began)
        session = pool.take()
        if isinstance(session, Session):
            session.open(80)

    async with trio.open_nursery() as nursery:
        for _ in range(8 if what != "many" else 3 * OWN_SESSIONS):
            nursery.start_soon(connection)
    await settled()  # the peers have heard of each of them
    loads = sorted(len(peer.streams) for peer in wanting.pods.standing("web"))
    if what == "near":
        assert loads[-8:] == [1] * 8
        assert max(waited) < 0.1
    elif what == "hangs":
        assert max(waited) == OWN_PATIENCE
        assert not pool.own_session_comes(endpoint("web"))
    elif what == "many":
        assert max(waited) < 0.2
        assert sorted(waited)[OWN_SESSIONS] == 0
    else:
        assert max(waited) == 0


async def answered(wanting: Wanting, pool: Pool) -> tuple[Session, Tunnel]:
    """A new connection that has got an answer, and its session."""

    def streams() -> list[PeerStream]:
        return [stream for peer in wanting.pods.peers["web"] for stream in peer.streams.values()]

    before = streams()
    session = pool.take()
    assert session is not None
    tunnel = session.open(80)
    await trio.testing.wait_all_tasks_blocked()
    [stream] = [stream for stream in streams() if stream not in before]
    await stream.send_all(b"answer")
    await receive_pieces(tunnel)
    return session, tunnel


async def short_connections(wanting: Wanting, pool: Pool) -> None:
    """So many that more short ones are expected."""
    for _ in range(SHORT_IN_A_ROW):
        (await answered(wanting, pool))[1].abort()
        await trio.sleep(0.1)


async def test_a_burst_of_short_connections_shares_sessions(wanting: Wanting, autojump_clock: MockClock) -> None:
    """Where the last ones were short; the worker that each needs for itself is the bound. No session is waited for."""
    pool = wanting.want()
    await settled()
    await short_connections(wanting, pool)
    assert not pool.own_session_comes(endpoint("web"))
    sessions = []
    for _ in range(2):
        session = pool.take()
        assert session is not None
        session.open(80)
        sessions.append(session)
    assert sessions[0] is sessions[1]


async def test_beside_a_connection_that_lasts_none_is_put(wanting: Wanting, autojump_clock: MockClock) -> None:
    """However short the others were; once it has ended, the next ones have sessions of their own again."""
    pool = wanting.want()
    await settled()
    await short_connections(wanting, pool)
    lasting, tunnel = await answered(wanting, pool)
    await trio.sleep(SHORT)
    other = pool.take()
    assert other is not None
    assert other is not lasting
    tunnel.abort()
    await settled()
    first = pool.take()
    assert first is not None
    first.open(80)
    assert pool.take() is not first


async def test_who_asks_again_is_not_counted_again(wanting: Wanting, autojump_clock: MockClock) -> None:
    """One connection that waits while others come and go asks for one session, however often it looks."""
    pool = wanting.want()
    await settled()
    wanting.pods.latency = 1.0
    session = pool.take()
    assert session is not None
    tunnels = []
    for _ in range(SHARED):
        tunnels.append(session.open(80))
        await trio.testing.wait_all_tasks_blocked()  # the peer accepts each pair
    before = len(wanting.pods.opens)
    for _ in range(5 * SHARED):
        tunnels.pop().abort()
        await trio.testing.wait_all_tasks_blocked()
        session = pool.take()
        assert session is not None
        tunnels.append(session.open(80))
        assert pool.take() is None
        await trio.testing.wait_all_tasks_blocked()
    assert len(wanting.pods.opens) == before + 1


async def test_one_that_waits_asks_for_one_session(wanting: Wanting, autojump_clock: MockClock) -> None:
    """Though two could be opened side by side."""
    pool = wanting.want()
    await settled()
    await connect(pool, 1)
    wanting.pods.latency = 1.0
    before = len(wanting.pods.opens)
    while session := pool.take():
        session.open(80)
    await trio.testing.wait_all_tasks_blocked()
    assert (pool.sessions, len(wanting.pods.opens)) == (2, before + 1)


async def test_many_who_wait_open_no_more_side_by_side_than_stand(wanting: Wanting, autojump_clock: MockClock) -> None:
    """One, then two, up to eight: the first that stands serves before it has to compete with many others' opening."""
    pool = wanting.want()
    await settled()
    began = trio.current_time()
    waiting = 60 * SHARED
    while waiting:
        for _ in range(waiting):
            session = pool.take()
            if session is not None:
                session.open(80)
                waiting -= 1
        if waiting:
            await wanting.news.wait()
    moments = [at for at in wanting.pods.opens if at >= began]
    abreast = [sum(first <= at < first + 0.9 * wanting.pods.latency for at in moments) for first in moments]
    assert abreast[0] == 1
    assert max(abreast) == MAX_OPENING
    assert trio.current_time() - began < 20 * wanting.pods.latency


async def test_no_more_than_the_bound(
    wanting: Wanting, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every session full and none more allowed, a connection has to wait; one that ends makes room."""
    monkeypatch.setattr(module, "MAX_SESSIONS", 2)
    pool = wanting.want()
    await settled()
    tunnels = await connect(pool, 2 * SHARED)
    assert pool.take() is None
    assert len(wanting.pods.opens) == 2
    before = wanting.changes
    tunnels[0].abort()
    await settled()
    assert wanting.changes > before
    assert pool.take() is not None
