"""The order of a sequence: a hypothesis state machine that opens siblings and troublemakers at random.

Its rules are not async, so trio runs in its own thread behind anyio's portal.
"""

from __future__ import annotations

from functools import partial

from anyio.from_thread import BlockingPortal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.isolation.crowd import Place, gathered

# A few more than have their own session (forwarders/pool.py, OWN_SESSIONS): both cases happen.
MOST = 20
STEPS = 12

sizes = st.integers(1, 200_000)


class Machine(RuleBasedStateMachine):
    """One sequence. `teardown` has the assertions."""

    def __init__(self, portal: BlockingPortal, place: Place) -> None:
        super().__init__()
        self._portal = portal
        self._gathering = portal.wrap_async_context_manager(gathered(place))
        self._crowd = self._gathering.__enter__()

    @initialize()
    def one_sibling(self) -> None:
        self._portal.call(self._crowd.echo)

    @precondition(lambda self: self._crowd.size < MOST)
    @rule()
    def another_sibling(self) -> None:
        self._portal.call(self._crowd.echo)

    @rule(which=st.integers(0, MOST), size=sizes)
    def talk(self, which: int, size: int) -> None:
        self._portal.call(self._crowd.talk, which, size)

    @precondition(lambda self: self._crowd.size < MOST)
    @rule(size=sizes)
    def download(self, size: int) -> None:
        self._portal.call(self._crowd.download, size)

    @precondition(lambda self: self._crowd.size < MOST)
    @rule(size=sizes)
    def upload(self, size: int) -> None:
        self._portal.call(self._crowd.upload, size)

    @precondition(lambda self: self._crowd.size < MOST)
    @rule(stuck=st.booleans())
    def stalled_reader(self, *, stuck: bool) -> None:
        self._portal.call(partial(self._crowd.stall, stuck=stuck))

    @precondition(lambda self: self._crowd.size < MOST)
    @rule()
    def reset_in_mid_download(self) -> None:
        self._portal.call(self._crowd.reset_in_mid_download)

    @precondition(lambda self: self._crowd.size < MOST)
    @rule(stays=st.booleans())
    def refused_port(self, *, stays: bool) -> None:
        self._portal.call(partial(self._crowd.knock_at_the_refused_port, stays=stays))

    @precondition(lambda self: self._crowd.size < MOST)
    @rule(size=sizes)
    def aborted_upload(self, size: int) -> None:
        self._portal.call(self._crowd.abort_an_upload, size)

    def teardown(self) -> None:
        """Every sibling has delivered every byte, and the long-lived ones continue."""
        try:
            self._portal.call(self._crowd.settle)
            assert not self._crowd.problems, self._crowd.problems
        finally:
            self._gathering.__exit__(None, None, None)


def run_sequences(portal: BlockingPortal, place: Place, count: int) -> None:
    """Runs so many random sequences; a failing one is shrunk and shown."""

    class Here(Machine):
        def __init__(self) -> None:
            super().__init__(portal, place)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=count, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
