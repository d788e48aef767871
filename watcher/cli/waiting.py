"""Waits for the portsides that run here, or will: follows the events of each.

It does not poll: the runtime directory is watched, and the end of a process is an event.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import httpx
import trio

from forwarders.system.processes import wait_process_end
from watcher.board import runtime
from watcher.board.board import Board
from watcher.board.lines import REPORT_WAIT_AFTER
from watcher.board.readiness import ForwardQuery, Readiness, follow_events, readiness
from watcher.board.runtime import Instance
from watcher.cli.running import Choice, here
from watcher.errors import WatcherError
from watcher.user_files import until

Problems = tuple[str, ...]


class Waiting:
    """`say`: gets a line for people, once it takes a while. Without a choice this folder's portsides count."""

    def __init__(self, names: Sequence[ForwardQuery], choice: Choice, say: Callable[[str], None]) -> None:
        self._names = names
        self._choice = choice
        self._say = say
        self._said: set[str] = set()
        self._running: list[Instance] = []
        self._boards: dict[Instance, Board] = {}
        self._mute: list[Instance] = []  # announced, but nobody answers there
        self._ended: list[Instance] = []
        self._process_over = False
        self._changed = trio.Event()

    async def run(self, timeout: float) -> Problems:
        """Waits at most so many seconds. () where all is ready, else a line for each thing that is not."""
        over = None
        with trio.move_on_after(timeout):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._find, nursery)
                nursery.start_soon(self._speak)
                while (over := self._over()) is None:
                    self._changed = trio.Event()
                    await self._changed.wait()
                nursery.cancel_scope.cancel()
        problems = (f"not ready within {timeout:g} s", *self._missing()) if over is None else over
        return tuple(problem for problem in problems if problem not in self._said) or problems[:1]

    def _over(self) -> Problems | None:
        """The end, as `run` returns it, where there is one already."""
        now = self._verdict()
        if now is not None and now.ready:
            return ()
        if now is not None and now.hopeless:
            return now.missing
        if self._standing:
            return None
        if self._ended and not self._chosen(self._running):
            return tuple(f"{one.name} has ended" for one in self._ended)
        return (f"no process {self._choice.pid} runs",) if self._process_over else None

    @property
    def _standing(self) -> list[Board]:
        """The boards of those that count and still answer."""
        return [self._boards[one] for one in self._chosen(self._running) if one in self._boards]

    def _verdict(self) -> Readiness | None:
        """None while nobody has told anything; without names, until everybody has."""
        told = [board for board in self._standing if board.planned]
        if not told or (not self._names and len(told) < len(self._standing)):
            return None
        return readiness(told, self._names)

    def _missing(self) -> Problems:
        now = self._verdict()
        if now is not None:
            return now.missing
        silent = self._chosen(self._running)
        return tuple(f"{one.name} does not answer" for one in silent) or (self._choice.none(self._running),)

    def _chosen(self, running: Sequence[Instance]) -> list[Instance]:
        return self._choice.among(running) if self._choice.made else here(running)

    async def _find(self, nursery: trio.Nursery) -> None:
        if self._choice.pid is not None:
            nursery.start_soon(self._watch_process, self._choice.pid)
        while True:
            self._running = runtime.running_instances()
            for one in self._chosen(self._running):
                if one not in (*self._boards, *self._mute, *self._ended):
                    self._boards[one] = Board()
                    nursery.start_soon(self._follow, one)
            self._touch()
            await _others_than(self._running)

    async def _watch_process(self, pid: int) -> None:
        """The process that was chosen may end, or have ended, without ever having been a portside."""
        await wait_process_end(pid)
        self._process_over = True
        self._touch()

    async def _follow(self, one: Instance) -> None:
        over = self._ended
        board = self._boards[one]
        try:
            await follow_events(one, board, self._touch)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.HTTPStatusError, OSError):
            over = self._mute  # killed, and its process id another's by now; or its token is not for us
        except (httpx.HTTPError, httpx.InvalidURL):
            pass  # it ended in the middle of a message
        del self._boards[one]
        over.append(one)
        if over is self._ended:
            self._running = [other for other in self._running if other != one]
        self._touch()

    def _touch(self) -> None:
        self._changed.set()

    async def _speak(self) -> None:
        """What is waited for, each thing once, where it lasts."""
        while True:
            await trio.sleep(REPORT_WAIT_AFTER)
            for line in self._missing():
                if line not in self._said:
                    self._said.add(line)
                    self._say(f"waiting: {line}")
            await self._changed.wait()


async def _others_than(known: Collection[Instance]) -> None:
    """Returns once those that run are not the ones in `known`; a killed one only when another change shows it."""
    folder, before = runtime.directory(), set(known)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        await until(lambda: set(runtime.running_instances()) != before, [folder])
    except OSError as error:
        raise WatcherError(f"{folder} cannot be watched for a portside that starts: {error}; start it first") from error
