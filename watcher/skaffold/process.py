"""Runs the Skaffold of `portside run`, or the wrapper around it: its terminal, its signals, its exit code.

Skaffold ends only if the user asks for it. It shares our terminal and process group and has no pipe to us. Neither
cancelling `run` nor a crash of portside touches it.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import trio

from forwarders.system.processes import (
    CHILD_HAS_OWN_GROUP,
    CONSOLE_REACHES_GROUP,
    CTRL_C,
    find_program,
    group_options,
    send_signal,
    startable,
    stop_signals,
)
from watcher.errors import UsageError

log = logging.getLogger("portside.skaffold")

# A Ctrl-C that ends Skaffold may reach us a moment later; left in the queue it would become a KeyboardInterrupt.
_LAST_SIGNALS = 0.01
# The kernel marks the whole group before the sender continues; what remains is the scheduling of one `cat`. If a slower
# machine makes this wrong, Skaffold gets a second signal, which it ignores (signal.NotifyContext).
_CANARY_DIES_WITHIN = 0.5


class SignalScope:
    """Tells whether a signal that reached us went to the whole process group, or to us alone.

    A Ctrl-C, a closed terminal and `kill -INT -PGID` reach every process of the group, `kill -INT PID` only one, and
    neither Python nor trio tells them apart (no si_code). So a `cat` that reads from a pipe of ours runs in the group
    as a canary: a signal to the group ends it, and so does our end. Each one serves once. A context manager: enter it
    after the signal handlers are in place.
    """

    def __init__(self) -> None:
        self._canary: trio.Process | None = None

    async def __aenter__(self) -> SignalScope:
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):
            await self._stop()

    async def _start(self) -> None:
        """Starts a canary. Without a `cat` there is none, and every signal counts as sent to us alone.

        None is needed where the console sends every signal to the whole group.
        """
        if CONSOLE_REACHES_GROUP:
            return
        try:
            self._canary = await trio.lowlevel.open_process(
                ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except OSError:
            self._canary = None

    async def group_was_hit(self) -> bool:
        """Whether the signal that has just reached us also reached the group; starts a new canary if so."""
        if self._canary is None:
            return CONSOLE_REACHES_GROUP
        with trio.move_on_after(_CANARY_DIES_WITHIN) as patience:
            await self._canary.wait()
        if patience.cancelled_caught:
            return False
        await self._stop()
        await self._start()
        return True

    async def _stop(self) -> None:
        """Ends the canary and waits for its end, which takes milliseconds."""
        if self._canary is not None and self._canary.stdin is not None:
            await self._canary.stdin.aclose()  # the end of its input ends a `cat`
            await self._canary.wait()


class SkaffoldProcess:
    """One child Skaffold. `ending` is set when a signal asks us to end, while Skaffold still cleans up.

    `stdout`: the descriptor that replaces our standard output if a program reads that line by line.
    `pass_on`: gets every signal that reached us alone. `on_signal`: gets every signal after Skaffold has it.
    `send` sends a signal to Skaffold; `send_signal_to_tree` for a wrapper, which may not pass signals on.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str] | None = None,
        stdout: int | None = None,
        pass_on: Callable[[int], None] | None = None,
        on_signal: Callable[[int], None] | None = None,
        send: Callable[[trio.Process, int], None] = send_signal,
    ) -> None:
        self.ending = trio.Event()
        self._argv = list(argv)
        self._environ = environ
        self._stdout = stdout
        self._also = pass_on
        self._on_signal = on_signal
        self._send = send
        self._process: trio.Process | None = None

    async def run(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> int:
        """Starts Skaffold (its pid is the started value), passes signals on, and returns its exit code at once.

        128+n: ended by signal n, as in a shell. Must run in the main thread, whose signals it handles.
        Cancelling it leaves Skaffold running. Raises UsageError if the binary cannot be started.
        """
        with trio.open_signal_receiver(*stop_signals()) as arrivals:
            async with SignalScope() as scope:
                process = self._process = await self._start()
                task_status.started(process.pid)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pass_on, arrivals, scope, process)
                    code = await process.wait()
                    nursery.cancel_scope.cancel()
            with trio.move_on_after(_LAST_SIGNALS):
                async for _ in arrivals:
                    self.ending.set()
        return code if code >= 0 else 128 - code

    def end(self) -> None:
        """Ends Skaffold as Ctrl-C in its terminal would: it cleans up what it deployed, and `run` returns."""
        self.ending.set()
        if self._process is not None and self._process.returncode is None:
            self._send(self._process, CTRL_C)

    async def _start(self) -> trio.Process:
        try:
            return await trio.lowlevel.open_process(
                startable(self._argv, self._environ), env=self._environ, stdout=self._stdout, **group_options()
            )
        except FileNotFoundError:
            raise UsageError(_not_found(self._argv[0])) from None
        except OSError as error:
            raise UsageError(f"{self._argv[0]} cannot be started: {error.strerror}; is it an executable?") from None

    async def _pass_on(self, arrivals: AsyncIterator[int], scope: SignalScope, process: trio.Process) -> None:
        """Passes signals on so that each reaches Skaffold once: one to the whole group has reached it already."""
        async for number in arrivals:
            self.ending.set()
            name = signal.Signals(number).name
            if not CHILD_HAS_OWN_GROUP and await scope.group_was_hit():
                log.debug("%s reached the whole process group, Skaffold has it already", name)
            else:
                log.debug("passing %s on to Skaffold", name)
                self._send(process, number)
                if self._also is not None:
                    self._also(number)
            if self._on_signal is not None:
                self._on_signal(number)


def check_found(program: str, path: str | None) -> None:
    """Refuses a program that does not exist. Raises UsageError."""
    if find_program(program, path) is None and not os.path.exists(program):
        raise UsageError(_not_found(program))


def _not_found(program: str) -> str:
    return f"{program} was not found; install Skaffold, or give its path: portside run -- /path/to/skaffold dev"
