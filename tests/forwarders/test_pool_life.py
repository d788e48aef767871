"""Sessions that end: idle ones, those of a pod that nobody wants, and all of them after the machine slept."""

from __future__ import annotations

import logging
from random import Random

import pytest
import trio
import trio.testing
from msgspec.structs import replace
from trio.testing import MockClock

from forwarders.fleet import Pools
from forwarders.pool import Pool
from forwarders.session_set import (
    IDLE_TIMEOUT,
    TEST_TIMEOUT,
)
from forwarders.spec import PodRef
from forwarders.transports.api_server import ClusterRoute
from forwarders.transports.sockets import Channel
from forwarders.tunnel import Tunnel
from tests.forwarders.cluster import Pods, pod
from tests.forwarders.streams import close, receive_pieces
from tests.forwarders.wanting import POD, Wanting, connect, settled


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


async def test_5000_connections_and_afterwards_one_session(wanting: Wanting, autojump_clock: MockClock) -> None:
    """All are served, five on a session; when they have ended, one spare session is left."""
    pool = wanting.want()
    await settled()
    tunnels: list[Tunnel] = []
    while len(tunnels) < 5000:
        if session := pool.take(5000 - len(tunnels)):
            tunnels.append(session.open(80))
        else:
            with trio.fail_after(5):
                await wanting.news.wait()
    assert len(wanting.pods.standing("web")) <= 1001
    for tunnel in tunnels:
        tunnel.abort()
    await trio.sleep(IDLE_TIMEOUT + 5)
    assert (len(wanting.pods.standing("web")), pool.sessions) == (1, 1)


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


@pytest.mark.parametrize("count", [1, 20])
async def test_sessions_after_an_edited_kubeconfig(wanting: Wanting, autojump_clock: MockClock, count: int) -> None:
    """The old sessions keep their connections and get no new one: another one is opened, however many there are."""
    pool = wanting.want()
    await settled()
    tunnels = await connect(pool, count)
    pool.reopen()
    await settled()
    assert pool.up
    [new] = await connect(pool, 1)
    for tunnel in (*tunnels, new):
        assert not tunnel.finished
        tunnel.abort()


async def test_a_session_that_opens_in_the_moment_of_an_edit(wanting: Wanting, autojump_clock: MockClock) -> None:
    """The old API server's answer has come, and is not read yet: the session gets no connection."""
    answer, servers = trio.Event(), list[str]()
    server = "old"

    async def open_channel(pod: PodRef) -> tuple[Channel, bytes]:
        mine = server
        opened = await wanting.pods.open_channel(pod)
        if mine == "old":
            await answer.wait()
        servers.append(mine)
        return opened

    pools = Pools({"": ClusterRoute(open_channel, wanting.limiter)}.__getitem__, Random(0))
    async with trio.open_nursery() as nursery:
        await nursery.start(pools.run)
        pool = pools.want(POD, settled_listener, running=True)
        assert isinstance(pool, Pool)
        await trio.sleep(0.2)
        server = "new"
        answer.set()
        pool.reopen()
        await trio.sleep(1)
        assert servers == ["old", "new"]
        assert pool.sessions == 1
        nursery.cancel_scope.cancel()


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
    second = wanting.pools.want(POD, settled_listener, running=True)
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
    other = wanting.pools.want(pod("other"), wanting.changed, running=True)
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


async def test_each_cluster_has_a_way_of_its_own(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Sessions, the pace of retries and doubts of an API server are of one cluster alone."""
    here, there = Pods(nursery), Pods(nursery)
    silences: list[str] = []
    far = ClusterRoute(there.open_channel, on_silence=lambda: silences.append("far"))
    near_route = ClusterRoute(here.open_channel, on_silence=lambda: silences.append("here"))
    pools = Pools({"": near_route, "far": far}.__getitem__, Random(0))
    await nursery.start(pools.run)
    near_pod, far_pod = pod("web"), replace(pod("web"), cluster="far")
    near, distant = (pools.want(one, lambda: None, running=True) for one in (near_pod, far_pod))
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
    pools = Pools({"": ClusterRoute(Pods(nursery).open_channel)}.__getitem__, Random(0))
    with pytest.raises(LookupError, match="far"):
        pools.want(replace(pod("web"), cluster="far"), lambda: None, running=True)
