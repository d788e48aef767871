"""Waits for forwards of the portsides that run here, and for Skaffold's last iteration before that.

It does not poll: it watches the runtime directory, follows each portside's events and the end of its process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime

import httpx
import trio

from forwarders.system.processes import wait_process_end
from forwarders.tasks import Notifier
from watcher.board import runtime_files
from watcher.board.board import Board
from watcher.board.lines import REPORT_WAIT_AFTER
from watcher.board.readiness import ForwardQuery, Readiness, SavedIteration, follow_events, readiness
from watcher.board.records import timestamp
from watcher.board.runtime_files import Instance
from watcher.cli.instances import InstanceFilter
from watcher.errors import WatcherError
from watcher.user_files import until

Problems = tuple[str, ...]


class ReadinessWait:
    """Waits until `names`, or all forwards, of the selected portsides are ready.

    `report` is called with a line for each thing that takes long. `notice_within`: first wait until Skaffold has
    deployed the last save, which it notices within so many seconds; None: do not wait for Skaffold. `asked`: when the
    user asked, now by default; what was saved before counts.
    """

    def __init__(
        self,
        names: Sequence[ForwardQuery],
        instances: InstanceFilter,
        report: Callable[[str], None],
        notice_within: float | None = None,
        asked: datetime | None = None,
    ) -> None:
        self._names = names
        self._instances = instances
        self._report = report
        self._notice_within = notice_within
        self._asked = timestamp(asked or datetime.now(UTC))
        self._saved: dict[Instance, SavedIteration] = {}
        self._skaffold_error = ""  # of a Skaffold whose portside has ended
        self._until = math.inf  # when waiting for Skaffold may end without an event
        self.served: list[str] = []  # a line for each Skaffold whose iteration is served
        self._reported: set[str] = set()
        self._running: list[Instance] = []
        self._boards: dict[Instance, Board] = {}
        self._unreachable: list[Instance] = []
        self._ended: list[Instance] = []
        self._process_ended = False
        self._changed = Notifier()

    async def run(self, timeout: float) -> Problems:
        """Waits at most `timeout` seconds. Returns () if all is ready, else a line for each thing that is not."""
        outcome = None
        with trio.move_on_after(timeout):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._find, nursery)
                nursery.start_soon(self._report_slow)
                while (outcome := self._outcome()) is None:
                    with trio.move_on_at(self._until):
                        await self._changed.wait()
                nursery.cancel_scope.cancel()
        problems = (f"not ready within {timeout:g} s", *self._missing()) if outcome is None else outcome
        return tuple(problem for problem in problems if problem not in self._reported) or problems[:1]

    def _outcome(self) -> Problems | None:
        """Returns the result of `run`, or None while waiting makes sense."""
        now = self._readiness()
        if now is not None and now.ready:
            return ()
        if now is not None and now.hopeless:
            return now.missing
        if self._answering:
            return None
        if self._ended and not self._selected():
            error = (self._skaffold_error,) if self._skaffold_error else ()
            return (*error, *(f"{one.name} has ended" for one in self._ended))
        return (f"no process {self._instances.pid} runs",) if self._process_ended else None

    @property
    def _answering(self) -> list[Board]:
        """The boards of the selected portsides that still answer."""
        return [self._boards[one] for one in self._selected() if one in self._boards]

    def _readiness(self) -> Readiness | None:
        """Whether all is ready; None until one portside has a plan, and without names until all have one."""
        planned = [board for board in self._answering if board.planned]
        if not planned or (not self._names and len(planned) < len(self._answering)):
            return None
        now = readiness(planned, self._names)
        return now if self._notice_within is None else self._after_iteration(now)

    def _after_iteration(self, now: Readiness) -> Readiness:
        """Returns `now` once the last iteration of each Skaffold is over. Before that a failed forward is not final."""
        followed = [(one, self._boards[one].skaffold) for one in self._selected() if one in self._saved]
        states = [(self._saved[one].state(record, trio.current_time()), record) for one, record in followed]
        self._until = min((state.until for state, _ in states), default=math.inf)
        self.served = [
            f"Skaffold's iteration {record.iteration} is served" + ("; no change was noticed" if state.idle else "")
            for state, record in states
            if record
        ]
        if not states:
            return Readiness((*now.missing, "no Skaffold is followed here, so there is no iteration"), hopeless=True)
        if errors := tuple(state.error for state, _ in states if state.error):
            return Readiness(errors, hopeless=True)
        if pending := tuple(state.pending for state, _ in states if state.pending):
            return Readiness((*pending, *now.missing))
        return now

    def _missing(self) -> Problems:
        now = self._readiness()
        if now is not None:
            return now.missing
        silent = tuple(f"{one.name} does not answer" for one in self._selected())
        return silent or (self._instances.no_match(self._running),)

    def _selected(self) -> list[Instance]:
        return self._instances.select_or_here(self._running)

    async def _find(self, nursery: trio.Nursery) -> None:
        if self._instances.pid is not None:
            nursery.start_soon(self._watch_process, self._instances.pid)
        while True:
            self._running = runtime_files.running_instances()
            for one in self._selected():
                if one not in (*self._boards, *self._unreachable, *self._ended):
                    self._boards[one] = Board()
                    if one.skaffold and self._notice_within is not None:
                        self._saved[one] = SavedIteration(self._asked, self._notice_within)
                    nursery.start_soon(self._follow, one)
            self._changed.fire()
            await _until_others_than(self._running)

    async def _watch_process(self, pid: int) -> None:
        """Ends the wait when the process of --pid ends, also before it became a portside."""
        await wait_process_end(pid)
        self._process_ended = True
        self._changed.fire()

    async def _follow(self, one: Instance) -> None:
        result = self._ended
        board = self._boards[one]
        try:
            await follow_events(one, board, self._changed.fire)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.HTTPStatusError, OSError):
            result = self._unreachable  # it was killed and its process id reused, or we lack its token
        except (httpx.HTTPError, httpx.InvalidURL):
            pass  # the connection closed mid-message, so it ended
        last = self._boards.pop(one).skaffold
        if last is not None and last.failed and last.error and one in self._saved:
            self._skaffold_error = f"Skaffold's iteration {last.iteration} failed: {last.error}"
        self._saved.pop(one, None)
        result.append(one)
        if result is self._ended:
            self._running = [other for other in self._running if other != one]
        self._changed.fire()

    async def _report_slow(self) -> None:
        """Reports each missing thing once, if it is missing for a second."""
        while True:
            await trio.sleep(REPORT_WAIT_AFTER)
            for line in self._missing():
                if line not in self._reported:
                    self._reported.add(line)
                    self._report(f"waiting: {line}")
            await self._changed.wait()


async def _until_others_than(known: Collection[Instance]) -> None:
    """Returns when the runtime directory lists other portsides than `known`. It does not notice a killed one."""
    folder, before = runtime_files.directory(), set(known)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        await until(lambda: set(runtime_files.running_instances()) != before, [folder])
    except OSError as error:
        raise WatcherError(f"{folder} cannot be watched for a portside that starts: {error}; start it first") from error
