"""Runs a forwarding command to its end: signals, the command of --exec, and the exit code."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from forwarders.early_ports import LEAST_DESCRIPTORS
from forwarders.system import files
from forwarders.system.processes import CONSOLE_REACHES_GROUP, shell_command, stop_signals
from forwarders.tasks import contained
from watcher.board.board import Board
from watcher.board.environment import Variables
from watcher.board.lines import REPORT_WAIT_AFTER
from watcher.board.readiness import NOTHING, Readiness, command_readiness
from watcher.cli import logs
from watcher.cli.collected import Options
from watcher.errors import UsageError

if TYPE_CHECKING:
    from watcher.cli.runtime import Runtime

logger = logging.getLogger("portside")

FAILED = 1
# Seconds. A terminal and a wrapper (npm, make) both pass a Ctrl-C on, so two signals within this time are one.
TOGETHER = 0.2
# Seconds. A normal shutdown takes some tenths of a second; one that takes longer is reported.
SLOW_SHUTDOWN = 1.0
# Seconds between SIGTERM and SIGKILL for a command of --exec.
TERMINATED_WITHIN = 5.0
# Seconds that --exec waits for a first forward after the plan is made. An object may be reported after the deploy.
NOTHING_WITHIN = 5.0

Task = Callable[[], Awaitable[None]]


def run_forwarding(main: Callable[[Options], Awaitable[int]], options: Options) -> int:
    """Runs `main` with logs set up. Raises UsageError if too few files may be open for any forward to work."""
    logs.set_up(options.verbose)
    soft = files.raise_descriptor_limit()
    if soft is not None and soft < LEAST_DESCRIPTORS:
        raise UsageError(f"only {soft} files may be open at once; raise `ulimit -n` to {LEAST_DESCRIPTORS} or more")
    return trio.run(main, options)


async def run_to_end(task: Task, runtime: Runtime) -> int:
    """Runs `task`, which runs `runtime`, until it ends, a signal comes or the command of --exec ends.

    Returns the exit code.
    """
    command, code = runtime.exec_command, FAILED

    async def both() -> None:
        nonlocal code
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task)
            if command is not None:
                code = await command.run(runtime.board)
                nursery.cancel_scope.cancel()

    await until_signal(both, command)
    return code if command is not None or runtime.failed else 0


async def until_signal(task: Task, command: ExecCommand | None = None) -> None:
    """Runs `task` until it returns, or SIGINT, SIGTERM or (unless ignored, as under nohup) SIGHUP cancels it.

    SIGINT also works if it was ignored (a script's background job), as in kubectl. A second signal ends the process
    at once. While `command` runs, it gets the signals instead.
    """
    with trio.open_signal_receiver(*stop_signals()) as arrivals:
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            nursery.start_soon(command.pass_on if command else _cancel, arrivals, scope)
            with scope:
                await task()
            nursery.cancel_scope.cancel()


async def _cancel(arrivals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    signals = RepeatedSignal()
    async with trio.open_nursery() as nursery:
        async for number in arrivals:
            signals.received(number)
            if not scope.cancel_called:
                scope.cancel()
                nursery.start_soon(signals.report_slow_shutdown)


class RepeatedSignal:
    """Ends the process at once when a second signal arrives during a normal shutdown."""

    def __init__(self) -> None:
        self._since: float | None = None

    def received(self, number: int) -> None:
        """Call it for each signal. The second one ends the process, unless it came within TOGETHER of the first."""
        now = trio.current_time()
        if self._since is None:
            self._since = now
        elif now - self._since >= TOGETHER:
            logger.warning("stopped at once by a second signal")
            logging.shutdown()
            os._exit(128 + number)  # the system closes ports and connections

    async def report_slow_shutdown(self) -> None:
        """Start it at the first signal; it logs a warning if the shutdown takes long."""
        await trio.sleep(SLOW_SHUTDOWN)
        logger.warning("still shutting down; press Ctrl-C again to stop at once")


class ExecCommand:
    """The command of --exec: runs `text` in the user's shell when all is ready, at most `within` seconds from now.

    portside does not parse `text` and puts nothing from a cluster into it. `done` is set at the end of `run`.
    """

    def __init__(self, text: str, within: float, variables: Variables, stdout: int | None = None) -> None:
        self.done = trio.Event()
        self._text = text
        self._within = within
        self._variables = variables
        self._stdout = stdout
        self._started = False
        self._process: trio.Process | None = None
        self._early: list[int] = []  # signals that came while it was being started

    @classmethod
    def of(cls, options: Options, variables: Variables) -> ExecCommand | None:
        """Makes the command of --exec, if given. With --output json its output goes to stderr; stdout is for JSON."""
        if not options.exec_command:
            return None
        stdout = sys.stderr.fileno() if options.output == "json" else None
        return cls(options.exec_command, options.exec_timeout, variables, stdout)

    @property
    def running(self) -> bool:
        return self._started and not self.done.is_set()

    async def run(self, board: Board) -> int:
        """Runs the command when all is ready; returns its exit code: 128+n after signal n, 1 if it was not started.

        Cancellation ends it.
        """
        code = FAILED
        try:
            with contained(logger, "--exec"):
                problems = await self._until_ready(board)
                for problem in problems:
                    logger.warning("--exec: %s", problem)
                code = FAILED if problems else await self._execute(board)
        finally:
            self.done.set()
        return code

    def send_signal(self, number: int) -> None:
        """Passes a signal on, unless the console has sent it to the command already."""
        if CONSOLE_REACHES_GROUP:
            return
        if self._process is not None:
            self._process.send_signal(number)
        elif self._started:
            self._early.append(number)

    async def pass_on(self, arrivals: AsyncIterator[int], scope: trio.CancelScope) -> None:
        """Passes each signal on once, unless the whole process group got it. Cancels `scope` if it has not started."""
        from watcher.skaffold.process import SignalScope

        signals = RepeatedSignal()
        async with SignalScope() as reach:
            async for number in arrivals:
                if not self.running:
                    signals.received(number)
                    scope.cancel()
                elif not await reach.group_was_hit():
                    self.send_signal(number)

    async def _until_ready(self, board: Board) -> tuple[str, ...]:
        """Waits until all is ready; returns () or the reasons not to start."""
        reported: set[str] = set()
        report_at, nothing_until = trio.current_time() + REPORT_WAIT_AFTER, math.inf
        try:
            async with board.subscribe() as changes:
                with trio.move_on_after(self._within):
                    while not (now := command_readiness(board)).ready:
                        if now.hopeless or trio.current_time() >= nothing_until:
                            return _new(now.missing, reported)
                        nothing_until = _nothing_until(nothing_until, now)
                        with trio.move_on_at(min(report_at, nothing_until)):
                            await changes.receive()
                        if trio.current_time() >= report_at:
                            report_at = math.inf  # once
                            reported.update(missing := command_readiness(board).missing)
                            for problem in missing:
                                logger.warning("--exec waits: %s", problem)
                    return ()
        except trio.EndOfChannel:
            return _new(now.missing, reported)
        return (f"not ready within {self._within:g} s", *_new(command_readiness(board).missing, reported))

    async def _execute(self, board: Board) -> int:
        self._started = True
        environment = self._variables.of(board.forwards.values()) | os.environ  # the user's own take precedence
        shell = shell_command(self._text)
        try:
            process = await trio.lowlevel.open_process(shell, env=environment, stdout=self._stdout)
        except OSError as error:  # no sh on the PATH, too many processes, more variables than the system takes
            logger.warning("--exec: %s cannot be started: %s", shell[0], error.strerror)
            return FAILED
        self._process = process
        for number in self._early:
            process.send_signal(number)
        try:
            code = await process.wait()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await _terminate(process)
            raise
        return code if code >= 0 else 128 - code


def _nothing_until(before: float, now: Readiness) -> float:
    """Returns the time until which a first forward may still appear; `before` is the earlier result."""
    if NOTHING not in now.missing:
        return math.inf
    return before if before < math.inf else trio.current_time() + NOTHING_WITHIN


def _new(problems: tuple[str, ...], reported: set[str]) -> tuple[str, ...]:
    """Returns the problems that were not reported yet; if there are none, a line that the command is not run."""
    return tuple(problem for problem in problems if problem not in reported) or ("the command is not run",)


async def _terminate(process: trio.Process) -> None:
    process.terminate()
    with trio.move_on_after(TERMINATED_WITHIN):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
