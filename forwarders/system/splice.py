"""Moves bytes from one socket to another inside the kernel, on systems that have splice(2) for it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from socket import socket

import trio

# Whether this system can.
CAN_SPLICE = sys.platform == "linux"
# Bytes that a pipe holds, and so the most that one call moves: Linux's limit for users without privileges.
PIPE_SIZE = 1024 * 1024
# Seconds without a byte after which the pipe, two descriptors and its memory, is given back.
IDLE = 1.0


class TargetBrokenError(Exception):
    """Writing to the target failed; the cause is an OSError."""


if sys.platform == "linux":
    import fcntl

    # An emulated Linux, or a filter of system calls. A socket has other errors.
    _UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EPERM})

    async def splice(source: socket, target: socket, on_moved: Callable[[int], None]) -> bool:
        """Moves bytes until the end of `source`; `on_moved` is called with each number of bytes read.

        Returns False if it is not the end: nothing came for IDLE seconds, there is no descriptor left for a pipe, or
        the system does not permit it. Raises OSError if reading fails, and TargetBrokenError.
        """
        try:
            pipe_out, pipe_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            # A user with many large pipes gets small ones only: splice then moves less at once.
            with suppress(OSError):
                fcntl.fcntl(pipe_in, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
            while True:
                await trio.lowlevel.checkpoint_if_cancelled()
                try:
                    count = os.splice(source.fileno(), pipe_in, PIPE_SIZE, flags=os.SPLICE_F_NONBLOCK)
                except BlockingIOError:
                    with trio.move_on_after(IDLE) as waiting:
                        await trio.lowlevel.wait_readable(source)
                    if waiting.cancelled_caught:
                        return False
                    continue
                except OSError as error:
                    if error.errno in _UNSUPPORTED:
                        return False
                    raise
                if not count:
                    return True
                on_moved(count)
                await _drain(pipe_out, target, count)
                await trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            os.close(pipe_out)
            os.close(pipe_in)

    async def _drain(pipe_out: int, target: socket, count: int) -> None:
        while count:
            try:
                count -= os.splice(pipe_out, target.fileno(), count, flags=os.SPLICE_F_NONBLOCK)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(target)
            except OSError as error:
                raise TargetBrokenError from error

else:

    async def splice(_source: socket, _target: socket, _on_moved: Callable[[int], None]) -> bool:
        """Not here: ask CAN_SPLICE."""
        await trio.lowlevel.checkpoint()
        raise NotImplementedError
