"""Runs the Skaffold of `portside run`, or the wrapper around it: its terminal, its signals, its exit code.

It is not ended unless the user asks for that: it shares our terminal and process group, has no pipe to us, and neither
cancelling `run` nor a crash of portside touches it.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import trio

from forwarders.system.processes import (
    CHILD_HAS_OWN_GROUP,
    CTRL_C,
    find_program,
    send_signal,
    signal_group,
    startable,
    stop_signals,
)
from watcher.errors import UsageError
from watcher.skaffold.witness import GroupWitness, group_witness

log = logging.getLogger("portside.skaffold")

# A Ctrl-C that ends Skaffold may reach us a moment later; left in the queue it would become a KeyboardInterrupt.
_LAST_SIGNALS = 0.01


class SkaffoldProcess:
    """One child Skaffold. `ending` is set at once when a signal asks us to end, while Skaffold still cleans up.

    `stdout`: the descriptor that takes the place of our standard output, which a program may read line by line.
    `pass_on`: what else gets every signal that reached us alone. `heard` is told each signal, once Skaffold has it.
    `send` sends a signal to it; `send_to_tree` for a wrapper, which may not pass on what only it got.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str] | None = None,
        stdout: int | None = None,
        pass_on: Callable[[int], None] | None = None,
        heard: Callable[[int], None] | None = None,
        send: Callable[[trio.Process, int], None] = send_signal,
    ) -> None:
        self.ending = trio.Event()
        self._argv = list(argv)
        self._environ = environ
        self._stdout = stdout
        self._also = pass_on
        self._heard = heard
        self._send = send
        self._process: trio.Process | None = None

    async def run(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> int:
        """Starts Skaffold (its pid is the started value), passes signals on, returns its exit code at once.

        A code of 128+n: ended by signal n, as a shell says it. Must run in the main thread, whose signals it takes.
        Cancelling it leaves Skaffold running. Raises UsageError where the binary cannot be started.
        """
        with trio.open_signal_receiver(*stop_signals()) as arrivals:
            async with group_witness() as witness:
                process = self._process = await self._start()
                task_status.started(process.pid)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pass_on, arrivals, witness, process)
                    code = await process.wait()
                    nursery.cancel_scope.cancel()
            with trio.move_on_after(_LAST_SIGNALS):
                async for _ in arrivals:
                    self.ending.set()
        return code if code >= 0 else 128 - code

    def end(self) -> None:
        """As Ctrl-C in its terminal would: Skaffold cleans up what it deployed, and `run` returns."""
        self.ending.set()
        if self._process is not None and self._process.returncode is None:
            self._send(self._process, CTRL_C)

    async def _start(self) -> trio.Process:
        try:
            return await trio.lowlevel.open_process(
                startable(self._argv, self._environ), env=self._environ, stdout=self._stdout, **signal_group()
            )
        except FileNotFoundError:
            raise UsageError(_not_found(self._argv[0])) from None
        except OSError as error:
            raise UsageError(f"{self._argv[0]} cannot be started: {error.strerror}; is it an executable?") from None

    async def _pass_on(self, arrivals: AsyncIterator[int], witness: GroupWitness, process: trio.Process) -> None:
        """Every signal reaches Skaffold once: what the group got it has already, what we alone got is sent on."""
        async for number in arrivals:
            self.ending.set()
            name = signal.Signals(number).name
            if not CHILD_HAS_OWN_GROUP and await witness.group_was_hit():
                log.debug("%s reached the whole process group, Skaffold has it already", name)
            else:
                log.debug("passing %s on to Skaffold", name)
                self._send(process, number)
                if self._also is not None:
                    self._also(number)
            if self._heard is not None:
                self._heard(number)


def check_found(program: str, path: str | None) -> None:
    """Raises UsageError where there is no such program, before anything else is done."""
    if find_program(program, path) is None and not os.path.exists(program):
        raise UsageError(_not_found(program))


def _not_found(program: str) -> str:
    return f"{program} was not found; install Skaffold, or give its path: portside run -- /path/to/skaffold dev"
