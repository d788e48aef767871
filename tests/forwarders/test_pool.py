"""Sessions of a pod on trio's own clock: one ahead of need, bounded sharing, a pace for failures, letting go."""

from __future__ import annotations

import logging
from random import Random

import pytest
import trio
import trio.testing
from msgspec.structs import replace
from trio.testing import MockClock

from forwarders import session_set as module
from forwarders.backoff import FIRST_BACKOFF, LAST_BACKOFF, LAST_USELESS, TURN, RetryLimiter
from forwarders.errors import DialError
from forwarders.fleet import Pools
from forwarders.pool import OWN_PATIENCE, Pool
from forwarders.route import ClusterRoute
from forwarders.session import Session
from forwarders.session_set import (
    IDLE_TIMEOUT,
    MAX_OPENING,
    OWN_SESSIONS,
    SHARED,
    SHORT,
    SHORT_IN_A_ROW,
    TEST_PORT,
    TEST_TIMEOUT,
)
from forwarders.tasks import Notifier
from forwarders.tunnel import Tunnel
from tests.forwarders.cluster import Pods, endpoint, pod
from tests.forwarders.peer import Peer, PeerStream
from tests.forwarders.streams import close, receive_pieces

POD = pod("web")


class Wanting:
    """Somebody who wants the pod and waits for its changes."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.pods = Pods(nursery)
        self.limiter = RetryLimiter(TURN)
        self.pools = Pools(ClusterRoute(self.pods.open_channel, self.limiter, self.silent), Random(0))
        self.changes = self.silences = 0
        self.news = Notifier()

    def silent(self) -> None:
        self.silences += 1

    def changed(self) -> None:
        self.changes += 1
        self.news.fire()

    def want(self) -> Pool:
        pool = self.pools.want(POD, self.changed)
        assert isinstance(pool, Pool)
        return pool


@pytest.fixture
async def wanting(nursery: trio.Nursery) -> Wanting:
    wanting = Wanting(nursery)
    await nursery.start(wanting.pools.run)
    return wanting


async def settled() -> None:
    """Sessions that are being opened stand."""
    await trio.sleep(0.5)


async def connect(pool: Pool, count: int) -> list[Tunnel]:
    """`count` connections one after the other, each with time for the next spare."""
    tunnels = []
    for _ in range(count):
        session = pool.take()
        assert session is not None
        tunnels.append(session.open(80))
        await settled()
    return tunnels


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
    tunnels = [session.open(80) for _ in range(SHARED)]
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


async def test_failures_have_a_pace_even_while_connections_wait(wanting: Wanting, autojump_clock: MockClock) -> None:
    """A server that cannot be reached is tried ever more seldom, however often connections ask; then all is well."""
    wanting.pods.failure = "connection refused"
    wanting.pods.latency = 0.0
    pool = wanting.want()
    for _ in range(6000):
        assert pool.take() is None
        await trio.sleep(0.01)
    assert 8 < len(wanting.pods.opens) < 60 / (0.5 * LAST_BACKOFF)
    assert pool.problem == "connection refused"
    wanting.pods.failure = ""
    await trio.sleep(2 * LAST_BACKOFF)
    assert (pool.up, pool.problem) == (True, "")


async def test_one_that_was_cut_does_not_queue(
    wanting: Wanting, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """A session that could not be opened once is tried again at once, although twenty others wait for their turn."""
    for _ in range(20):
        nursery.start_soon(wanting.limiter.wait_turn, 0.0)
    await trio.testing.wait_all_tasks_blocked()
    wanting.pods.failure = "connection reset by peer"
    pool = wanting.want()
    await trio.sleep(wanting.pods.latency / 2)
    assert len(wanting.pods.opens) == 1
    await trio.sleep(wanting.pods.latency)
    wanting.pods.failure = ""
    await trio.sleep(FIRST_BACKOFF + 2 * wanting.pods.latency)
    assert pool.up


async def test_sessions_that_die_young_have_a_pace_too(wanting: Wanting, autojump_clock: MockClock) -> None:
    """A server that accepts and closes at once is not hammered."""
    wanting.pods.short_lived = True
    wanting.want()
    await trio.sleep(60)
    assert len(wanting.pods.opens) < 60 / (0.5 * LAST_BACKOFF)


def busiest(moments: list[float], seconds: float = 1.0) -> int:
    """The most tries within so many seconds."""
    return max(sum(at <= other < at + seconds for other in moments) for at in moments)


USELESS = ["says GOAWAY and stays", "says GOAWAY and ends", "ends at once", "refuses"]


def make_useless(pods: Pods, how: str) -> None:
    pods.polite = "GOAWAY" in how
    pods.short_lived = "ends" in how
    pods.refusing = how == "refuses"


@pytest.mark.parametrize("how", USELESS)
async def test_a_server_whose_sessions_are_of_no_use(wanting: Wanting, autojump_clock: MockClock, how: str) -> None:
    """However it gets rid of them, and however often connections ask: ten tries a second at most, then ever fewer."""
    make_useless(wanting.pods, how)
    pool = wanting.want()
    for _ in range(6000):
        pool.take()
        await trio.sleep(0.01)
    opens = wanting.pods.opens
    assert busiest(opens) <= 10
    slowest = LAST_BACKOFF if how == "refuses" else LAST_USELESS
    assert len([at for at in opens if at > opens[0] + 30]) <= 30 / (0.5 * slowest) + 1
    make_useless(wanting.pods, "")
    await trio.sleep(2 * slowest)
    assert pool.take() is not None


@pytest.mark.parametrize("how", USELESS)
async def test_many_pods_of_such_a_server(wanting: Wanting, autojump_clock: MockClock, how: str) -> None:
    """Forty pods together make ten tries a second, also while sessions of one of them seem to get through."""
    for number in range(40):
        wanting.pools.want(pod(f"pod-{number}"), wanting.changed)
    await settled()
    make_useless(wanting.pods, how)
    for peers in wanting.pods.peers.values():
        for peer in peers:
            peer.close()
    await trio.sleep(5)
    before = len(wanting.pods.opens)
    await trio.sleep(60)
    assert len(wanting.pods.opens) - before <= 60 / TURN + 1


async def test_a_session_that_was_of_use_is_replaced_at_once(wanting: Wanting, autojump_clock: MockClock) -> None:
    """A server that ends each session soon, but serves on it: the next one stands a moment later, every time."""
    pool = wanting.want()
    await settled()
    for _ in range(20):
        session = pool.take()
        assert session is not None
        tunnel = session.open(80)
        peer = next(peer for peer in wanting.pods.standing("web") if peer.streams or not peer.closed)
        stream = await peer.accept()
        await stream.send_all(b"served")
        assert await receive_pieces(tunnel) == [b"served"]
        for one in wanting.pods.standing("web"):
            one.close()
        await trio.sleep(0.2)
        assert pool.up


async def test_losing_many_sessions_at_once_costs_one_pause(wanting: Wanting, autojump_clock: MockClock) -> None:
    """When the API server restarts all sessions die together; the next one stands within a fraction of a second."""
    pool = wanting.want()
    await settled()
    await connect(pool, 20)
    for peer in wanting.pods.standing("web"):
        peer.close()
    await trio.sleep(0.2)
    assert pool.up
    assert pool.take() is not None


async def test_a_session_that_is_lost_names_its_pod(
    wanting: Wanting, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """In one line of the log."""
    caplog.set_level(logging.INFO, "portside.sessions")
    wanting.want()
    await settled()
    wanting.pods.standing("web")[0].close()
    await settled()
    [line] = caplog.messages
    assert line.startswith(f"pod {POD.namespace}/web: ")


async def test_idle_sessions_retire_but_one(wanting: Wanting, autojump_clock: MockClock) -> None:
    """After IDLE_TIMEOUT all idle sessions but one are closed, and no new one is opened for them."""
    pool = wanting.want()
    await settled()
    for tunnel in await connect(pool, 5):
        tunnel.abort()
    opened = len(wanting.pods.opens)
    await trio.sleep(IDLE_TIMEOUT - 5)
    assert len(wanting.pods.standing("web")) == opened
    await trio.sleep(10)
    assert len(wanting.pods.standing("web")) == 1
    await trio.sleep(1000)
    assert len(wanting.pods.opens) == opened


async def test_a_session_that_is_ending_is_replaced(wanting: Wanting, autojump_clock: MockClock) -> None:
    """GOAWAY on the spare: another is opened, the ended one closed."""
    pool = wanting.want()
    await settled()
    peer = wanting.pods.standing("web")[0]
    peer.wire.go_away()
    peer.flush()
    await settled()
    assert peer.closed
    assert len(wanting.pods.standing("web")) == 1
    assert pool.up


async def test_a_released_pod_lets_its_connections_drain(wanting: Wanting, autojump_clock: MockClock) -> None:
    """Unwanted, idle sessions close at once, busy ones with their last connection; then the pool is gone."""
    pool = wanting.want()
    await settled()
    (tunnel,) = await connect(pool, 1)
    busy = next(peer for peer in wanting.pods.standing("web") if peer.streams)
    wanting.pools.leave(POD, wanting.changed)
    await trio.sleep(100)
    assert wanting.pods.standing("web") == [busy]
    stream = next(iter(busy.streams.values()))
    await stream.send_all(b"still served")
    assert await receive_pieces(tunnel) == [b"still served"]
    tunnel.abort()
    await trio.sleep(TEST_TIMEOUT)  # an empty dial of ours may be under way
    await settled()
    assert wanting.pods.standing("web") == []
    assert wanting.pools.get(POD) is None


@pytest.mark.parametrize("ticks", range(12))
async def test_wanted_again_while_it_ends(wanting: Wanting, autojump_clock: MockClock, ticks: int) -> None:
    """In whatever moment a released pod is wanted again, it has a session soon: none is left with a dead pool."""
    wanting.want()
    await settled()
    wanting.pools.leave(POD, wanting.changed)
    for _ in range(ticks):
        await trio.lowlevel.checkpoint()
    wanting.want()
    await settled()
    pool = wanting.pools.get(POD)
    assert pool is not None
    assert pool.up


async def test_two_who_want_one_pod(wanting: Wanting, autojump_clock: MockClock) -> None:
    """Forwards to one pod share its pool; it lives as long as one of them wants it."""
    first = wanting.want()
    second = wanting.pools.want(POD, settled_listener)
    assert first is second
    await settled()
    wanting.pools.leave(POD, wanting.changed)
    await settled()
    assert second.up
    wanting.pools.leave(POD, settled_listener)
    wanting.pools.leave(pod("unknown"), settled_listener)
    await settled()
    assert wanting.pools.get(POD) is None


def settled_listener() -> None:
    """Wants a pod and cares for no change."""


async def test_wanted_before_anything_runs(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Pods that were wanted before `run` get their sessions with it."""
    wanting = Wanting(nursery)
    pool = wanting.want()
    await nursery.start(wanting.pools.run)
    await settled()
    assert pool.up


async def test_the_end_of_all(autojump_clock: MockClock) -> None:
    """Cancelling the pools closes every session, connections or not."""
    async with trio.open_nursery() as nursery:
        wanting = Wanting(nursery)
        await nursery.start(wanting.pools.run)
        pool = wanting.want()
        await settled()
        await connect(pool, 3)
        nursery.cancel_scope.cancel()
    assert wanting.pods.standing("web") == []


async def test_after_a_sleep_new_connections_wait_for_a_session_that_lives(
    wanting: Wanting, autojump_clock: MockClock
) -> None:
    """Sessions that died in silence are not used: another stands a moment later, and the dead ones end within 2 s."""
    pool = wanting.want()
    await settled()
    await connect(pool, 2)
    dead = wanting.pods.standing("web")
    for peer in dead:
        peer.answering = False
    wanting.pools.check()
    assert (pool.take(), pool.up) == (None, False)
    woke = trio.current_time()
    await trio.sleep(2 * wanting.pods.latency)
    session = pool.take()
    assert session is not None
    session.open(80)
    await wanting.pods.standing("web")[-1].accept()
    await trio.sleep(2.01)
    assert not set(dead) & set(wanting.pods.standing("web"))
    assert trio.current_time() - woke < 3
    assert wanting.silences == len(dead)


async def test_after_a_sleep_sessions_that_live_stay(wanting: Wanting, autojump_clock: MockClock) -> None:
    """Connections on them go on, and what was opened meanwhile is let go again."""
    pool = wanting.want()
    await settled()
    tunnels = await connect(pool, 3)
    wanting.pools.check()
    await settled()
    await trio.sleep(3 * IDLE_TIMEOUT)
    assert not any(tunnel.finished for tunnel in tunnels)
    assert len(wanting.pods.standing("web")) == 4
    assert wanting.silences == 0


async def test_what_was_being_opened_before_a_sleep_is_begun_anew(wanting: Wanting, autojump_clock: MockClock) -> None:
    """An answer that was lost while the process slept is not waited for."""
    wanting.pods.latency = 1000
    pool = wanting.want()
    await trio.sleep(5)
    wanting.pods.latency = 0.014
    wanting.pools.check()
    await trio.sleep(0.02)
    assert pool.up


async def test_one_silent_session_makes_all_prove_themselves(wanting: Wanting, autojump_clock: MockClock) -> None:
    """A dead path is found out by the session that is asked first; spares of other pods do not wait for their turn."""
    pool = wanting.want()
    other = wanting.pools.want(pod("other"), wanting.changed)
    await settled()
    await connect(pool, 1)
    await trio.sleep(6)
    for peer in (*wanting.pods.standing("web"), *wanting.pods.standing("other")):
        peer.answering = False
    wanting.pods.latency = 1000
    await trio.sleep(5.01)
    assert wanting.silences > 0
    assert not other.up
    await trio.sleep(2)
    assert wanting.pods.standing("other") == []


async def test_all_pods_together_ask_at_a_bounded_pace(wanting: Wanting, autojump_clock: MockClock) -> None:
    """Sixty pods at an API server that refuses make ten tries a second, and all have a session a second later."""
    wanting.pods.failure = "pods/portforward is forbidden"
    pools = [wanting.pools.want(pod(f"pod-{number}"), wanting.changed) for number in range(60)]
    await trio.sleep(10)
    before = len(wanting.pods.opens)
    await trio.sleep(20)
    assert len(wanting.pods.opens) - before <= 20 / TURN + 1
    wanting.pods.failure = ""
    await trio.sleep(1)
    assert all(pool.up for pool in pools)
    assert not any(pool.problem for pool in pools)


async def test_the_last_bytes_for_a_pod_that_goes_away_arrive(wanting: Wanting, autojump_clock: MockClock) -> None:
    """A connection that ends when nobody wants the pod any more: its session closes only once all was taken."""
    pool = wanting.want()
    await settled()
    [tunnel] = await connect(pool, 1)
    stream = await wanting.pods.standing("web")[0].accept()
    wanting.pools.leave(POD, wanting.changed)
    for part in (b"one", b"two", b"three"):
        await tunnel.write(part)
    close(tunnel)
    await trio.sleep(1)
    assert [await stream.receive_some() for _ in range(3)] == [b"one", b"two", b"three"]
    await settled()
    assert wanting.pods.standing("web") == []


async def test_a_server_that_answers_again_is_news_for_all(
    wanting: Wanting, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """Also an answer that refuses this pod: every waiter tries at once."""
    wanting.pods.failure = "no route"
    pool = wanting.want()
    await trio.sleep(10)
    woken: list[float] = []

    async def wait() -> None:
        await wanting.limiter.wait_turn(1000)
        woken.append(trio.current_time())

    nursery.start_soon(wait)
    wanting.pods.refusing = True
    back = trio.current_time()
    await trio.sleep(5)
    assert len(woken) == 1
    assert woken[0] - back < 1
    assert not pool.up


async def test_each_cluster_has_a_way_of_its_own(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Sessions, the pace of retries and doubts of an API server are of one cluster alone."""
    here, there = Pods(nursery), Pods(nursery)
    silences: list[str] = []
    far = ClusterRoute(there.open_channel, on_silence=lambda: silences.append("far"))
    near_route = ClusterRoute(here.open_channel, on_silence=lambda: silences.append("here"))
    pools = Pools(near_route, Random(0), {"far": far}.__getitem__)
    await nursery.start(pools.run)
    near_pod, far_pod = pod("web"), replace(pod("web"), cluster="far")
    near, distant = pools.want(near_pod, lambda: None), pools.want(far_pod, lambda: None)
    await settled()
    assert near is not distant
    assert (len(here.standing("web")), len(there.standing("web"))) == (1, 1)
    there.failure = "away"
    for peer in there.standing("web"):
        peer.close()
    await settled()
    assert (near.up, distant.up) == (True, False)
    assert len(here.opens) == 1
    pools.check()
    pools.reopen("far")
    await settled()
    assert (near.up, silences.count("here")) == (True, 0)
    there.failure = ""
    await trio.sleep(5)
    assert distant.up


async def test_an_unknown_cluster_is_a_mistake(nursery: trio.Nursery) -> None:
    """Nothing is opened in the default one in its place."""
    pools = Pools(ClusterRoute(Pods(nursery).open_channel), Random(0))
    with pytest.raises(LookupError, match="far"):
        pools.want(replace(pod("web"), cluster="far"), lambda: None)
