"""Which pod a connection goes to: the plan's order, patience with pods that are not Ready, the pace of redials."""

from __future__ import annotations

import itertools
import math

import pytest
import trio
from trio.testing import MockClock

from forwarders.backend import MAX_WANTED, Backend, Dialled
from forwarders.errors import DialError
from forwarders.spec import Endpoint
from tests.forwarders.choosing import Choosing, settled
from tests.forwarders.cluster import endpoint
from tests.forwarders.peer import REFUSED

OUTDATED = endpoint("old", outdated=True)


def dialled(choosing: Choosing) -> Dialled:
    got = choosing.backend.dial()
    assert isinstance(got, Dialled)
    return got


REFUSAL = DialError(REFUSED)
GONE = DialError('network namespace for sandbox "a" is closed', sandbox_gone=True)


async def test_the_first_ready_pod_serves(choosing: Choosing, autojump_clock: MockClock) -> None:
    """The plan's order among the Ready ones decides; one session is held to that pod, one to the next that comes."""
    choosing.backend.set((endpoint("new", ready=False), endpoint("first"), endpoint("second")))
    before = choosing.backend.serving
    await settled()
    assert (before, choosing.backend.serving) == (None, endpoint("first"))
    assert set(choosing.pods.peers) == {"first", "new"}
    assert choosing.changes > 0


async def test_a_pod_that_has_a_session_serves_while_the_next_ones_opens(
    choosing: Choosing, autojump_clock: MockClock
) -> None:
    """A newer pod takes over when its session is up, not before; then the old one's session closes."""
    choosing.backend.set((endpoint("old"),))
    await settled()
    choosing.pods.latency = 1.0
    choosing.backend.set((endpoint("new"), OUTDATED))
    await trio.sleep(0.5)
    assert choosing.backend.serving == OUTDATED
    await trio.sleep(1)
    assert choosing.backend.serving == endpoint("new")
    await settled()
    assert choosing.pods.standing("old") == []


async def test_equals_take_no_turns(choosing: Choosing, autojump_clock: MockClock) -> None:
    """A neighbour that is replaced, or comes first in the plan, moves nobody: the pod that serves goes on."""
    choosing.backend.set((endpoint("b"), endpoint("a")))
    await settled()
    for others in (("a",), ("c", "a"), ("d", "c")):
        choosing.backend.set((*map(endpoint, others), endpoint("b")))
        await settled()
        assert choosing.backend.serving == endpoint("b")
    assert set(choosing.pods.peers) == {"b"}


@pytest.mark.parametrize(
    "now",
    [(), (endpoint("b", ready=False),), (endpoint("b", outdated=True),)],
    ids=["it is deleted", "it is not Ready", "a newer revision is there"],
)
async def test_nobody_stays_on_a_pod_that_is_on_its_way_out(
    now: tuple[Endpoint, ...], choosing: Choosing, autojump_clock: MockClock
) -> None:
    """The pod that serves is preferred among equals only."""
    choosing.backend.set((endpoint("b"), endpoint("a")))
    await settled()
    choosing.backend.set((endpoint("a"), *now))
    await settled()
    assert choosing.backend.serving == endpoint("a")
    choosing.backend.set((endpoint("b"), endpoint("a")))
    await settled()
    assert choosing.backend.serving == endpoint("a")


async def test_pods_that_are_never_ready_take_no_turns_either(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A debugger that stops its pod makes it unready, and stays with it."""
    choosing = Choosing(nursery, patience=0)
    await nursery.start(choosing.pools.run)
    choosing.backend.set((endpoint("b", ready=False), endpoint("a", ready=False)))
    await settled()
    choosing.backend.set((endpoint("c", ready=False), endpoint("b", ready=False)))
    await settled()
    assert choosing.backend.serving == endpoint("b", ready=False)


async def test_a_session_that_breaks_does_not_change_the_pod(choosing: Choosing, autojump_clock: MockClock) -> None:
    """Though another pod has a session meanwhile: the pod lives, and its next session leads there again."""
    other = Backend(choosing.pools, 5.0, lambda: None)
    other.set((endpoint("a"),))
    choosing.backend.set((endpoint("b"), endpoint("a")))
    await settled()
    choosing.pods.latency = 0.5
    choosing.pods.standing("b")[0].close()
    await trio.sleep(0.3)
    meanwhile = choosing.backend.serving
    await trio.sleep(1)
    assert (meanwhile, choosing.backend.serving) == (endpoint("a"), endpoint("b"))


async def test_patience(choosing: Choosing, autojump_clock: MockClock) -> None:
    """With none Ready for `patience` seconds a Running pod will do; as soon as one is Ready, it alone."""
    choosing.backend.set((endpoint("a"), endpoint("b", ready=False)))
    await settled()
    choosing.backend.set((endpoint("a", ready=False), endpoint("b", ready=False)))
    await trio.sleep(4.9)
    choosing.backend.refresh()
    before = choosing.backend.serving
    await trio.sleep(0.2)
    choosing.backend.refresh()
    await settled()
    assert (before, choosing.backend.serving) == (None, endpoint("a", ready=False))
    choosing.backend.set((endpoint("a", ready=False), endpoint("b")))
    await settled()
    assert choosing.backend.serving == endpoint("b")


async def test_no_patience(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """For pods and debug ports Running is enough at once."""
    choosing = Choosing(nursery, patience=0)
    await nursery.start(choosing.pools.run)
    choosing.backend.set((endpoint("a", ready=False),))
    await settled()
    assert choosing.backend.serving == endpoint("a", ready=False)


async def test_pods_that_cannot_be_reached(choosing: Choosing, autojump_clock: MockClock) -> None:
    """Where a pod gives no session the next ones are tried too, up to a bound; the reason is told."""
    choosing.pods.failure = "no such pod"
    choosing.backend.set(tuple(endpoint(name) for name in "abcdef"))
    await trio.sleep(5)
    choosing.backend.refresh()
    assert choosing.backend.problem == "no such pod"
    choosing.pods.failure = ""
    await trio.sleep(20)
    assert choosing.backend.serving == endpoint("a")
    assert len(choosing.pods.peers) <= MAX_WANTED


async def test_connections_go_where_a_session_is(choosing: Choosing, autojump_clock: MockClock) -> None:
    """`dial` opens the endpoint's port; where there is no session there is nothing to wait for but a change."""
    choosing.backend.set((endpoint("a", port=8080),))
    assert choosing.backend.dial() == math.inf
    await settled()
    assert dialled(choosing)[::2] == (endpoint("a", port=8080), False)
    stream = await choosing.pods.standing("a")[0].accept()
    assert stream.port == 8080


async def test_redials_fall_off(choosing: Choosing, autojump_clock: MockClock) -> None:
    """A port that refuses is dialled soon after its first refusal, then more and more rarely; success ends it."""
    choosing.backend.set((endpoint("a"),))
    await settled()
    began, dials = trio.current_time(), list[float]()
    while trio.current_time() < began + 60:
        at = choosing.backend.dial()
        if isinstance(at, Dialled):
            dials.append(trio.current_time() - began)
            at.tunnel.abort()
            choosing.backend.refused(at.endpoint, REFUSAL)
            await trio.sleep(0.003)
        else:
            await trio.sleep_until(at)
    assert dials[1] <= 0.03
    assert len(dials) <= 55
    # An application that listens after t is found within a quarter of t, and within 2 s.
    gaps = [(later - earlier, earlier) for earlier, later in itertools.pairwise(dials)]
    assert all(gap <= min(max(0.25 * after, 0.025) + 0.01, 2.01) for gap, after in gaps)
    assert "connection refused" in choosing.backend.refusal
    choosing.backend.succeeded(endpoint("a"))
    assert choosing.backend.refusal == ""
    assert not dialled(choosing).recently_refused


async def test_a_port_that_refuses_is_dialled_by_one_at_a_time(choosing: Choosing, autojump_clock: MockClock) -> None:
    """While a redial has no answer nobody else dials; when it ends without one the next may at once."""
    choosing.backend.set((endpoint("a"),))
    await settled()
    choosing.backend.refused(endpoint("a"), REFUSAL)
    await trio.sleep(1)
    assert dialled(choosing).recently_refused
    await trio.sleep(10)
    assert choosing.backend.dial() == math.inf
    choosing.backend.abandoned(endpoint("a"))
    assert dialled(choosing).recently_refused


async def test_a_pod_that_is_gone_gives_way(choosing: Choosing, autojump_clock: MockClock) -> None:
    """A pod that merely refuses is what was deployed last and stays; one whose sandbox is gone does not."""
    new, old = endpoint("new"), OUTDATED
    choosing.backend.set((new, old))
    await settled()
    choosing.backend.refused(endpoint("unknown"), GONE)
    choosing.backend.refused(new, REFUSAL)
    await settled()
    assert (choosing.backend.serving, set(choosing.pods.peers)) == (new, {"new"})
    choosing.backend.refused(new, GONE)
    await settled()
    assert choosing.backend.serving == old
    assert choosing.pods.standing("new") != []
    assert not dialled(choosing).recently_refused
    choosing.backend.succeeded(new)
    choosing.backend.refresh()
    assert choosing.backend.serving == new


async def test_closing_lets_go(choosing: Choosing, autojump_clock: MockClock) -> None:
    """A closed backend wants no pod."""
    choosing.backend.set((endpoint("a"),))
    await settled()
    choosing.backend.close()
    await settled()
    assert choosing.pods.standing("a") == []
    assert choosing.backend.serving is None


async def test_the_next_pods_session_is_up_before_the_old_one_is_gone(
    choosing: Choosing, autojump_clock: MockClock
) -> None:
    """A pod that runs but is not Ready gets its session ahead: when it becomes Ready it serves at once, not before."""
    choosing.backend.set((endpoint("old"), endpoint("new", ready=False)))
    await settled()
    served = [choosing.backend.serving]
    for ready in (False, True):
        choosing.backend.set((endpoint("new", ready=ready),))
        served.append(choosing.backend.serving)
    assert served == [endpoint("old"), None, endpoint("new")]
    assert dialled(choosing).endpoint == endpoint("new")
    await settled()
    assert choosing.pods.standing("old") == []


async def test_one_pod_that_comes_is_prepared_for(choosing: Choosing, autojump_clock: MockClock) -> None:
    """Ten pods that do not become Ready cost one session, and what is wrong with it is no forward's problem."""
    choosing.backend.set((endpoint("a"), *(endpoint(f"b{number}", ready=False) for number in range(10))))
    await settled()
    assert set(choosing.pods.peers) == {"a", "b0"}
    choosing.pods.failure = "gone"
    choosing.backend.set((endpoint("b1", ready=False),))
    await settled()
    assert choosing.backend.problem == ""
