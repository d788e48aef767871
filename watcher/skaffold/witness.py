"""Owns the answer to one question: did the signal that we got go to the whole process group, or to us alone?

Refuses guesses from terminals and timing. A Ctrl-C, a closed terminal and `kill -INT -PGID` reach every process of the
group, `kill -INT PID` only one, and neither Python nor trio tells them apart (no si_code). So a `cat` that reads from a
pipe of ours sits in the group as a witness: it dies of what the group gets, and ends by itself with us, however we end.
"""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from forwarders.system.processes import CONSOLE_REACHES_GROUP

# The kernel marks the whole group before the sender goes on; what is left is the scheduling of one `cat`. Being wrong
# on a machine that is slower costs a second signal, which Skaffold passes over (signal.NotifyContext).
_TESTIMONY = 0.5


class GroupWitness:
    """A witness at a time: after each signal to the group the next one has to be called."""

    def __init__(self) -> None:
        self._process: trio.Process | None = None

    async def call(self) -> None:
        """Places a fresh witness. Without a `cat` there is none, and every signal counts as ours alone.

        None is needed where the console sends every signal to the whole group.
        """
        if CONSOLE_REACHES_GROUP:
            return
        try:
            self._process = await trio.lowlevel.open_process(
                ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except OSError:
            self._process = None

    async def group_was_hit(self) -> bool:
        """Whether the signal that has just reached us reached the group as well; a new witness then stands ready."""
        if self._process is None:
            return CONSOLE_REACHES_GROUP
        with trio.move_on_after(_TESTIMONY) as patience:
            await self._process.wait()
        if patience.cancelled_caught:
            return False
        await self.dismiss()
        await self.call()
        return True

    async def dismiss(self) -> None:
        """Ends the witness and waits for its end, which is a matter of milliseconds."""
        if self._process is not None and self._process.stdin is not None:
            await self._process.stdin.aclose()  # the end of its input ends a `cat`
            await self._process.wait()


@asynccontextmanager
async def group_witness() -> AsyncIterator[GroupWitness]:
    """A witness in our process group for the length of the block. Open it after the signal handlers are in place."""
    witness = GroupWitness()
    await witness.call()
    try:
        yield witness
    finally:
        with trio.CancelScope(shield=True):
            await witness.dismiss()
