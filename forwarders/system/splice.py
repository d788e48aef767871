"""Moves bytes from one socket to another inside the kernel, on systems that have splice(2) for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socket import socket

import trio

# Whether this system can.
CAN_SPLICE = sys.platform == "linux"
# Bytes that a pipe holds, and so the most that one call moves: Linux's limit for users without privileges.
PIPE_SIZE = 1024 * 1024


class TargetBrokenError(Exception):
    """Writing to the target failed; the cause is an OSError."""


if sys.platform == "linux":
    import fcntl

    async def splice(source: socket, target: socket, on_moved: Callable[[int], None]) -> None:
        """Moves everything until the end of `source`; `on_moved` is called with each number of bytes read.

        Raises OSError if reading fails or if there is no pipe, and TargetBrokenError.
        """
        with _pipe() as (pipe_out, pipe_in):
            while True:
                await trio.lowlevel.checkpoint_if_cancelled()
                try:
                    count = os.splice(source.fileno(), pipe_in, PIPE_SIZE, flags=os.SPLICE_F_NONBLOCK)
                except BlockingIOError:
                    await trio.lowlevel.wait_readable(source)
                    continue
                if not count:
                    return
                on_moved(count)
                await _drain(pipe_out, target, count)
                await trio.lowlevel.cancel_shielded_checkpoint()

    async def _drain(pipe_out: int, target: socket, count: int) -> None:
        while count:
            try:
                count -= os.splice(pipe_out, target.fileno(), count, flags=os.SPLICE_F_NONBLOCK)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(target)
            except OSError as error:
                raise TargetBrokenError from error

    @contextmanager
    def _pipe() -> Iterator[tuple[int, int]]:
        pipe_out, pipe_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            # A user with many large pipes gets small ones only: splice then moves less at once.
            with suppress(OSError):
                fcntl.fcntl(pipe_in, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
            yield pipe_out, pipe_in
        finally:
            os.close(pipe_out)
            os.close(pipe_in)

else:

    async def splice(_source: socket, _target: socket, _on_moved: Callable[[int], None]) -> None:
        """Not here: ask CAN_SPLICE."""
        await trio.lowlevel.checkpoint()
        raise NotImplementedError
