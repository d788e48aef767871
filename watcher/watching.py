"""Owns the answer to: has something changed in these folders? By the system's own notifications (inotify and such).

Refuses to read the files. Their folders are watched, since editors replace a file in place of writing to it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import trio
from msgspec import Struct

# `watchfiles.watch` does not tell from when on it looks, and what is saved before that would be lost.
from watchfiles._rust_notify import RustNotify

logger = logging.getLogger("portside.files")

# Milliseconds. Changes that come together are one: an editor's save is over in a few. `step` is how long the end of a
# burst is waited for, and how long the watching thread may take to notice that nobody waits for it any more.
_DEBOUNCE, _STEP = 400, 50


class Stamp(Struct, frozen=True):
    """A file as the system shows it: another one after a save, however the editor saves."""

    inode: int
    changed: int
    size: int


Stamps = Mapping[Path, Stamp | None]


def stamps(files: Iterable[Path]) -> Stamps:
    """The files as they are now, None for one that is not there. Take them before reading."""
    return {path: _stamp(path) for path in map(_resolved, files)}


async def change_since(before: Stamps) -> None:
    """Returns once any of the files is not what it was, also one that was not there.

    Where the system cannot watch (its limit is reached) that is said, and it never returns.
    """
    try:
        # A link is changed where it stands, or where it leads.
        places = (at.parent for path in before for at in (path, path.resolve()))
        await until(lambda: stamps(before) != before, places)
    except OSError as error:
        names = ", ".join(sorted(path.name for path in before))
        logger.warning("edits of %s are not noticed: %s; start portside again after them", names, error)
        await trio.sleep_forever()


async def until(changed: Callable[[], bool], folders: Iterable[Path]) -> None:
    """Returns once `changed()`, which is asked, in a thread, whenever something happened right in one of the folders.

    Raises OSError where the system cannot watch.
    """
    stop = threading.Event()
    there = sorted({str(folder) for folder in folders if folder.is_dir()})
    try:
        await trio.to_thread.run_sync(_wait, changed, there, stop, abandon_on_cancel=True)
    except RuntimeError as error:  # watchfiles' own for what it does not know
        raise OSError(str(error)) from error
    finally:
        stop.set()


def _wait(changed: Callable[[], bool], folders: list[str], stop: threading.Event) -> None:
    with RustNotify(folders, False, False, 0, False, True) as watcher:  # noqa: FBT003 - it takes them by place
        while not changed() and not stop.is_set():
            watcher.watch(_DEBOUNCE, _STEP, 0, stop)


def _resolved(file: Path) -> Path:
    """Where a relative name leads from a folder that was deleted nobody knows; it is not there."""
    try:
        return file.parent.resolve() / file.name
    except (OSError, RuntimeError):  # the latter: a loop of links
        return file


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_ino, found.st_mtime_ns, found.st_size)
