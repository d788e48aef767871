"""A pod that starts: sessions to it are tried before its containers run, and it serves in the moment it is Ready."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from forwarders.spec import Endpoint
from tests.forwarders.choosing import Choosing, settled
from tests.forwarders.cluster import endpoint, pod

STARTING = Endpoint(pod("new"), 80, ready=False, running=False)


@pytest.mark.parametrize("patience", [0.0, 5.0])
async def test_a_pod_that_starts_has_its_session_and_serves_once_it_runs(
    patience: float, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """However long nobody is Ready, and though pods as they are will do; then in the moment it is Ready."""
    choosing = Choosing(nursery, patience)
    await nursery.start(choosing.pools.run)
    choosing.backend.set((STARTING,))
    await trio.sleep(60)
    choosing.backend.refresh()
    before = choosing.backend.serving
    choosing.backend.set((endpoint("new"),))
    assert (before, choosing.backend.serving) == (None, endpoint("new"))
    await settled()
    assert len(choosing.pods.opens) == 1


async def test_tries_at_a_pod_that_starts_become_rare_and_it_is_tried_at_once_when_it_runs(
    choosing: Choosing, autojump_clock: MockClock
) -> None:
    """Without a sandbox no session can be opened: 20 tries in two minutes, none of them a problem of the forward."""
    choosing.pods.refusing = True
    choosing.backend.set((STARTING,))
    await trio.sleep(120)
    assert 5 <= len(choosing.pods.opens) <= 25
    choosing.pods.refusing, choosing.pods.opens = False, []
    choosing.backend.set((endpoint("new"),))
    assert choosing.backend.problem == ""
    began = trio.current_time()
    await settled()
    assert choosing.backend.serving == endpoint("new")
    assert choosing.pods.opens == [began]


async def test_a_pod_that_starts_has_its_session_soon_after_its_sandbox_runs(
    choosing: Choosing, autojump_clock: MockClock
) -> None:
    """Half a second after it can be opened, where the sandbox took a second."""
    choosing.pods.refusing = True
    choosing.backend.set((STARTING,))
    await trio.sleep(1)
    choosing.pods.refusing = False
    await trio.sleep(0.6)
    opens = len(choosing.pods.opens)
    choosing.backend.set((endpoint("new"),))
    assert choosing.backend.serving == endpoint("new")
    await settled()
    assert len(choosing.pods.opens) == opens


async def test_a_try_that_is_under_way_when_the_pod_runs_is_no_problem(
    choosing: Choosing, autojump_clock: MockClock
) -> None:
    """It began before a session could be opened; the next one begins as soon as it has failed."""
    choosing.pods.refusing, choosing.pods.latency = True, 0.3
    choosing.backend.set((STARTING,))
    await trio.sleep(0.3)
    choosing.backend.set((endpoint("new"),))
    assert len(choosing.pods.opens) == 1
    await trio.sleep(0.28)
    assert (len(choosing.pods.opens), choosing.backend.problem) == (2, "")
    choosing.pods.refusing = False
    await trio.sleep(0.3)
    assert choosing.backend.serving == endpoint("new")


async def test_a_try_that_has_no_answer_when_the_pod_runs_is_not_waited_for(
    choosing: Choosing, autojump_clock: MockClock
) -> None:
    """A kubelet that is busy with the pod's start may keep it for seconds."""
    choosing.pods.latency = 60
    choosing.backend.set((STARTING,))
    await trio.sleep(2)
    choosing.pods.latency = 0.01
    choosing.backend.set((endpoint("new"),))
    await settled()
    assert choosing.backend.serving == endpoint("new")
