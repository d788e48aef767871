"""Owns the command of --exec: when it may begin, with which variables, whom it hears, its exit code.

Refuses to read it: it is the user's own line for the user's own shell, and nothing from a cluster is put into it.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import AsyncIterator

import trio

from forwarders.system.processes import CONSOLE_REACHES_GROUP, shell_command
from forwarders.tasks import contained
from watcher.board.board import Board
from watcher.board.environment import Variables
from watcher.board.lines import REPORT_WAIT_AFTER
from watcher.board.readiness import NOTHING, Readiness, command_readiness
from watcher.cli.insistence import Insistence
from watcher.cli.options import Options
from watcher.skaffold.process import signal_scope

logger = logging.getLogger("portside")

FAILED = 1
# Seconds that a command may take to end when everything else has ended without it.
LAST_WORDS = 5.0
# Seconds for which there may be nothing to forward, once the plan stands, before --exec gives up.
NOTHING_WITHIN = 5.0


class UserCommand:
    """`text` in sh, once all is ready within so many seconds. `done` is set when `run` has come to its end."""

    def __init__(self, text: str, within: float, variables: Variables, stdout: int | None = None) -> None:
        self.done = trio.Event()
        self._text = text
        self._within = within
        self._variables = variables
        self._stdout = stdout
        self._begun = False
        self._process: trio.Process | None = None
        self._early: list[int] = []  # signals that came while it was being started

    @classmethod
    def of(cls, options: Options, variables: Variables) -> UserCommand | None:
        """The one that was asked for. Where programs read our objects on stdout, its own output goes to stderr."""
        if not options.exec_command:
            return None
        stdout = sys.stderr.fileno() if options.output == "json" else None
        return cls(options.exec_command, options.exec_timeout, variables, stdout)

    @property
    def running(self) -> bool:
        return self._begun and not self.done.is_set()

    async def run(self, board: Board) -> int:
        """Its exit code, 128+n after signal n; 1 where it never began. Cancelling ends it: SIGTERM, then SIGKILL."""
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
        """Passes a signal on, if it runs or is about to; where the console reaches the command, it has it already."""
        if CONSOLE_REACHES_GROUP:
            return
        if self._process is not None:
            self._process.send_signal(number)
        elif self._begun:
            self._early.append(number)

    async def pass_on(self, arrivals: AsyncIterator[int], scope: trio.CancelScope) -> None:
        """Each signal once: what the whole process group got it has already. Before it has begun: cancels `scope`."""
        insistence = Insistence()
        async with signal_scope() as witness:
            async for number in arrivals:
                if not self.running:
                    insistence.heard(number)
                    scope.cancel()
                elif not await witness.group_was_hit():
                    self.send_signal(number)

    async def _until_ready(self, board: Board) -> tuple[str, ...]:
        """Why it must not begin; () where all is ready."""
        subscription = board.subscribe()
        said: set[str] = set()
        say_at, nothing_until = trio.current_time() + REPORT_WAIT_AFTER, math.inf
        try:
            with trio.move_on_after(self._within):
                while not (now := command_readiness(board)).ready:
                    if now.hopeless or trio.current_time() >= nothing_until:
                        return _unsaid(now.missing, said)
                    nothing_until = _nothing_until(nothing_until, now)
                    with trio.move_on_at(min(say_at, nothing_until)):
                        await subscription.next()
                    if trio.current_time() >= say_at:
                        say_at = math.inf  # once
                        said |= _say(command_readiness(board).missing)
                return ()
        except trio.EndOfChannel:
            return _unsaid(now.missing, said)
        finally:
            board.unsubscribe(subscription)
        return (f"not ready within {self._within:g} s", *_unsaid(command_readiness(board).missing, said))

    async def _execute(self, board: Board) -> int:
        self._begun = True
        environment = self._variables.of(board.forwards.values()) | os.environ  # the user's own win
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
                await _end(process)
            raise
        return code if code >= 0 else 128 - code


def _nothing_until(before: float, now: Readiness) -> float:
    """Until when something to forward may still appear: an object's arrival is told after the deploy's end."""
    if NOTHING not in now.missing:
        return math.inf
    return before if before < math.inf else trio.current_time() + NOTHING_WITHIN


def _say(problems: tuple[str, ...]) -> set[str]:
    for problem in problems:
        logger.warning("--exec waits: %s", problem)
    return {*problems}


def _unsaid(problems: tuple[str, ...], said: set[str]) -> tuple[str, ...]:
    """Each reason is printed once. At least one line says why the command is not run."""
    return tuple(problem for problem in problems if problem not in said) or ("the command is not run",)


async def _end(process: trio.Process) -> None:
    process.terminate()
    with trio.move_on_after(LAST_WORDS):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
