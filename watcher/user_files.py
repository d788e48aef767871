"""Reads files that a user named, and waits until one of them changes.

Only regular files of bounded size are read, so a read never blocks. Every problem (a pipe, a device, a folder, a file
that is too large) is an OSError whose `strerror` can stand in a message.
"""

from __future__ import annotations

import errno
import importlib.machinery
import importlib.util
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

logger = logging.getLogger("portside.files")

# Bytes. A project's YAML has some thousand lines. A kubeconfig may have a certificate of 2 kB for each of its clusters.
PROJECT_FILE, KUBECONFIG, SECRET = 1 << 20, 10 << 20, 1 << 20

# Milliseconds. One save of an editor may cause several changes; those within _DEBOUNCE count as one. _STEP is the pause
# that ends a burst, and how long the watching thread may take to notice that it shall stop: it wakes that often.
_DEBOUNCE, _STEP = 400, 200

_KINDS = {
    stat.S_IFDIR: "it is a folder, not a file",
    stat.S_IFIFO: "it is a pipe, not a regular file",
    stat.S_IFSOCK: "it is a socket, not a regular file",
    stat.S_IFCHR: "it is a device, not a regular file",
    stat.S_IFBLK: "it is a device, not a regular file",
}
_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)


def read_bytes(path: str | Path, most: int) -> bytes:
    """Read the content of a file. Raises OSError, also if it has more than `most` bytes."""
    data = read_start(path, most + 1)
    if len(data) > most:
        size = f"{most >> 20} MiB" if most >= 1 << 20 else f"{most} bytes"
        raise OSError(errno.EFBIG, f"it is larger than {size}", str(path))
    return data


def read_text(path: str | Path, most: int) -> str:
    """Read the content of a file as text. Raises OSError, also if it is not UTF-8."""
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise OSError(errno.EILSEQ, "it is not a UTF-8 text", str(path)) from None


def read_start(path: str | Path, most: int) -> bytes:
    """Read the first `most` bytes of a regular file. Raises OSError.

    /dev/null counts as an empty file: KUBECONFIG=/dev/null means no kubeconfig.
    """
    try:
        found = os.stat(path)
    except ValueError:  # a NUL in the name
        raise OSError(errno.EINVAL, "no file has such a name", str(path)) from None
    if stat.S_ISCHR(found.st_mode) and os.path.samestat(found, os.stat(os.devnull)):
        return b""
    _check(found, path)
    # Another file may have taken the name by now; with _NO_WAIT opening a FIFO returns at once.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | _NO_WAIT)
    with os.fdopen(descriptor, "rb") as file:
        _check(os.fstat(descriptor), path)
        return file.read(most)


def home_folder() -> Path:
    """The user's home folder. It is a relative "~" if there is none (a container's user without HOME)."""
    return Path(os.path.expanduser("~"))  # Path.home() raises there


# Inode, time of the last change and size of each file: every way of saving changes one of them.
Stamps = Mapping[Path, tuple[int, int, int] | None]


def stamps(files: Iterable[Path]) -> Stamps:
    """The current state of the files, None for a missing one. Call it before reading them."""
    return {path: _stamp(path) for path in map(_resolved, files)}


def edited_since(files: Iterable[Path], read_at: int) -> list[Path]:
    """Those of the files that were written after `read_at` (ns since 1970), so that what was read may be older."""
    return [path for path, stamp in stamps(files).items() if stamp is not None and stamp[1] > read_at]


async def change_since(before: Stamps) -> None:
    """Returns once a file differs from `before`, or a missing one was created.

    If the system cannot watch (its limit of watches is reached), it logs that and never returns.
    """
    try:
        # Of a link both are watched: the folder of the link and the folder of the file it points to.
        places = (at.parent for path in before for at in (path, path.resolve()))
        await until(lambda: stamps(before) != before, places)
    except OSError as error:
        names = ", ".join(sorted(path.name for path in before))
        logger.warning("edits of %s are not noticed: %s; start portside again after them", names, error)
        import trio  # noqa: PLC0415 - as below

        await trio.sleep_forever()


async def until(changed: Callable[[], bool], folders: Iterable[Path]) -> None:
    """Returns once `changed()` is true. It is called in a thread, after each change directly in one of the folders.

    Folders are watched, not files, because an editor replaces a file instead of writing to it. Raises OSError if the
    system cannot watch.
    """
    import trio  # noqa: PLC0415 - `--help` imports this module, and trio costs 100 ms

    stop = threading.Event()
    there = sorted({str(folder) for folder in folders if folder.is_dir()})
    try:
        await trio.to_thread.run_sync(_wait, changed, there, stop, abandon_on_cancel=True)
    except RuntimeError as error:  # watchfiles raises it for problems that it does not know
        raise OSError(str(error)) from error
    finally:
        stop.set()


def _wait(changed: Callable[[], bool], folders: list[str], stop: threading.Event) -> None:
    # Not `watchfiles.watch`: it does not tell when it begins to watch, so an edit before that would be lost.
    with _watch_library().RustNotify(folders, False, False, 0, False, True) as watcher:  # noqa: FBT003 - by position
        while not changed() and not stop.is_set():
            watcher.watch(_DEBOUNCE, _STEP, 0, stop)


@cache
def _watch_library() -> Any:
    """The compiled half of watchfiles. The other half imports multiprocessing, and takes 30 ms of each start."""
    found = importlib.util.find_spec("watchfiles")
    folders = found.submodule_search_locations if found else None
    spec = importlib.machinery.PathFinder.find_spec("watchfiles._rust_notify", folders)
    if spec is None or spec.loader is None:
        raise OSError("the library watchfiles is not installed")
    library = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(library)
    return library


def _check(found: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        problem = _KINDS.get(stat.S_IFMT(found.st_mode), "it is not a regular file")
        raise OSError(errno.EINVAL, problem, str(path))


def _resolved(file: Path) -> Path:
    """The file in its resolved folder. If that cannot be resolved (it was deleted), the file counts as missing."""
    try:
        return file.parent.resolve() / file.name
    except (OSError, RuntimeError):  # RuntimeError: a loop of links
        return file


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
