"""Owns waiting for the portsides that run here, or will: each followed as it tells, none of them asked twice.

Refuses to poll: the runtime directory is watched, the events come by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import httpx
import trio

from watcher.board import runtime
from watcher.board.awaited import Name, Verdict, verdict
from watcher.board.board import Board
from watcher.board.follow import follow
from watcher.board.lines import WAITING_IS_SAID_AFTER
from watcher.board.runtime import Running
from watcher.errors import WatcherError
from watcher.watching import until

Problems = tuple[str, ...]


class Waiting:
    """`chosen`: which portsides count. `say`: gets a line for people, once it takes a while."""

    def __init__(self, names: Sequence[Name], chosen: Callable[[Running], bool], say: Callable[[str], None]) -> None:
        self._names = names
        self._chosen = chosen
        self._say = say
        self._said: set[str] = set()
        self._boards: dict[Running, Board] = {}
        self._mute: list[str] = []  # announced, but nobody answers there
        self._ended: list[str] = []
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
        if self._ended and not self._boards:
            return tuple(f"{one} has ended" for one in self._ended)
        return None

    def _verdict(self) -> Verdict | None:
        """None while nobody has told anything; without names, until everybody has."""
        told = [board for board in self._boards.values() if board.planned]
        if not told or (not self._names and len(told) < len(self._boards)):
            return None
        return verdict(told, self._names)

    def _missing(self) -> Problems:
        now = self._verdict()
        if now is not None:
            return now.missing
        silent = [*(_name(one) for one in self._boards), *self._mute]
        return tuple(f"{one} does not answer" for one in silent) or ("no portside runs here",)

    async def _find(self, nursery: trio.Nursery) -> None:
        seen: set[Running] = set()
        while True:
            running = runtime.found()
            for one in running:
                if one not in seen and self._chosen(one):
                    self._boards[one] = Board()
                    nursery.start_soon(self._follow, one)
            seen |= set(running)
            await _others_than(running)

    async def _follow(self, one: Running) -> None:
        over = self._ended
        try:
            await follow(one, self._boards[one], self._touch)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.HTTPStatusError, OSError):
            over = self._mute  # killed, and its process id another's by now; or its token is not for us
        except (httpx.HTTPError, httpx.InvalidURL):
            pass  # it ended in the middle of a word
        del self._boards[one]
        over.append(_name(one))
        self._touch()

    def _touch(self) -> None:
        self._changed.set()

    async def _speak(self) -> None:
        """What is waited for, each thing once, where it lasts."""
        while True:
            await trio.sleep(WAITING_IS_SAID_AFTER)
            for line in self._missing():
                if line not in self._said:
                    self._said.add(line)
                    self._say(f"waiting: {line}")
            await self._changed.wait()


async def _others_than(known: Collection[Running]) -> None:
    """Returns once those that run are not the ones in `known`; a killed one only when another change shows it."""
    folder, before = runtime.directory(), set(known)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        await until(lambda: set(runtime.found()) != before, [folder])
    except OSError as error:
        raise WatcherError(f"{folder} cannot be watched for a portside that starts: {error}; start it first") from error


def _name(running: Running) -> str:
    return f"portside {running.command} (pid {running.pid}, {running.folder})"
