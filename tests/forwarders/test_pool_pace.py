"""How often a pool opens sessions that fail or are of no use, alone and together with others of its API server."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from forwarders.backoff import FIRST_BACKOFF, LAST_BACKOFF, LAST_USELESS, TURN
from tests.forwarders.cluster import Pods, pod
from tests.forwarders.streams import receive_pieces
from tests.forwarders.wanting import Wanting, connect, settled


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
        wanting.pools.want(pod(f"pod-{number}"), wanting.changed, running=True)
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


async def test_all_pods_together_ask_at_a_bounded_pace(wanting: Wanting, autojump_clock: MockClock) -> None:
    """Sixty pods at an API server that refuses make ten tries a second, and all have a session a second later."""
    wanting.pods.failure = "pods/portforward is forbidden"
    pools = [wanting.pools.want(pod(f"pod-{number}"), wanting.changed, running=True) for number in range(60)]
    await trio.sleep(10)
    before = len(wanting.pods.opens)
    await trio.sleep(20)
    assert len(wanting.pods.opens) - before <= 20 / TURN + 1
    wanting.pods.failure = ""
    await trio.sleep(1)
    assert all(pool.up for pool in pools)
    assert not any(pool.problem for pool in pools)


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
