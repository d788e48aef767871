"""Reads a file whose name a user or a user's file gave: a regular file of bounded size, never one that blocks.

Whatever is wrong is an OSError with a `strerror` that can stand in a message: a FIFO, a device, a folder, too large.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

# Bytes. A project's YAML has some thousand lines. A kubeconfig may have a certificate of 2 kB for each of its clusters.
PROJECT_FILE, KUBECONFIG, SECRET = 1 << 20, 10 << 20, 1 << 20

_KINDS = {
    stat.S_IFDIR: "it is a folder, not a file",
    stat.S_IFIFO: "it is a pipe, not a regular file",
    stat.S_IFSOCK: "it is a socket, not a regular file",
    stat.S_IFCHR: "it is a device, not a regular file",
    stat.S_IFBLK: "it is a device, not a regular file",
}
_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)


def read_bytes(path: str | Path, most: int) -> bytes:
    """All that is in the file. Raises OSError, also where it has more than `most` bytes."""
    data = _read(path, most + 1, whole=True)
    if len(data) > most:
        raise _too_large(path, most)
    return data


def read_text(path: str | Path, most: int) -> str:
    """The same as text. Raises OSError, also where it is not UTF-8."""
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise OSError(errno.EILSEQ, "it is not a UTF-8 text", str(path)) from None


def read_start(path: str | Path, most: int) -> bytes:
    """At most so many bytes of the file's beginning. Raises OSError."""
    return _read(path, most, whole=False)


def home_folder() -> Path:
    """The user's home folder; a relative "~" where there is none (a container's user without HOME and passwd entry)."""
    return Path(os.path.expanduser("~"))  # Path.home() raises there


def _read(path: str | Path, most: int, *, whole: bool) -> bytes:
    """/dev/null is an empty file: KUBECONFIG=/dev/null means none."""
    try:
        found = os.stat(path)
    except ValueError:  # a NUL
        raise OSError(errno.EINVAL, "no file has such a name", str(path)) from None
    if _is_null(found):
        return b""
    _check(found, path)
    # It may be another one by now: not waiting makes opening a FIFO return at once.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | _NO_WAIT)
    with os.fdopen(descriptor, "rb") as file:
        opened = os.fstat(descriptor)
        _check(opened, path)
        if whole and opened.st_size >= most:
            raise _too_large(path, most - 1)
        return file.read(most)


def _check(found: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        problem = _KINDS.get(stat.S_IFMT(found.st_mode), "it is not a regular file")
        raise OSError(errno.EINVAL, problem, str(path))


def _is_null(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and os.path.samestat(found, os.stat(os.devnull))


def _too_large(path: str | Path, most: int) -> OSError:
    return OSError(errno.EFBIG, f"it is larger than {_size(most)}", str(path))


def _size(number: int) -> str:
    return f"{number >> 20} MiB" if number >= 1 << 20 else f"{number} bytes"
