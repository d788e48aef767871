"""Keeps the runtime directory: one small file for each portside that runs, so that others find its status address.

Beside it, where that address needs one, its token. Mode 0600 in a directory of mode 0700. A file counts only while the
very process that wrote it runs: a process id is used again, and the token must not go to whoever has it next.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from forwarders.system import files
from forwarders.system.processes import start_time
from watcher import user_files
from watcher.board.about import About
from watcher.errors import UsageError

logger = logging.getLogger("portside.board")


# A runtime file is a few hundred bytes, a token less.
MAX_FILE = 64 * 1024


class Running(About, frozen=True):
    """One portside as others find it.

    `token_file`: where the token is kept that its status address asks for, "" where it asks for none.
    `began`: when its process began (processes.start_time), 0 where the file does not say.
    """

    token_file: str = ""
    began: float = 0.0

    def headers(self) -> dict[str, str]:
        """What a request to its status address must carry. Raises OSError where the token cannot be read or sent."""
        if not self.token_file:
            return {}
        if self.began and not self.runs:
            raise ProcessLookupError(errno.ESRCH, "its process has ended")
        return {"Authorization": f"Bearer {user_files.read_text(self.token_file, MAX_FILE).strip()}"}

    @property
    def runs(self) -> bool:
        """Whether this very process runs."""
        now = start_time(self.pid)
        return now is not None and self.began in {0, now}


def directory() -> Path:
    """$XDG_RUNTIME_DIR/portside, else a folder of this user's (`system.files`)."""
    return files.runtime_folder(os.environ, user_files.home_folder())


@contextlib.contextmanager
def announced(running: Running) -> Iterator[None]:
    """The file stands while the block runs. Where it cannot, that is said, and costs nothing but `portside status`."""
    path = directory() / f"{running.pid}.json"
    try:
        _write(path, msgspec.json.encode(running))
    except OSError as error:
        logger.warning("`portside status` will not find this portside: %s: %s", path, error.strerror or error)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def kept_token(token: str) -> Iterator[Path]:
    """The file that holds `token` while the block runs. Raises UsageError: without it nobody could ask."""
    path = directory() / f"{os.getpid()}.token"
    try:
        _write(path, token.encode())
    except OSError as error:
        raise UsageError(
            f"the status address's token cannot be kept in {path}: {error.strerror or error}; give --status-token-file"
        ) from error
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def found() -> list[Running]:
    """Those that run now, the newest last. Removes the files of processes that are gone."""
    all_running: list[tuple[float, Running]] = []
    try:
        _check_ours(directory())
        paths = [*directory().glob("*.json")]
    except OSError:
        return []
    for path in paths:
        try:
            _check_owner(path)
            since, data = path.lstat().st_mtime, user_files.read_bytes(path, MAX_FILE)
        except OSError:
            continue  # gone meanwhile, or nothing that a portside has written
        running = _decoded(data)
        if running is not None and running.runs:
            # Without the moment it began nobody knows whether the process is the one that the token was made for.
            if running.began or not running.token_file:
                all_running.append((since, running))
        elif running is not None or not _is_of_later_version(data):
            _remove(path)
    return [running for _, running in sorted(all_running, key=lambda pair: pair[0])]


def _decoded(data: bytes) -> Running | None:
    try:
        return msgspec.json.decode(data, type=Running)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _is_of_later_version(data: bytes) -> bool:
    """Whether a portside that runs wrote this in a format of its own."""
    try:
        pid = msgspec.json.decode(data).get("pid")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError):
        return False
    return isinstance(pid, int) and start_time(pid) is not None


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        path.with_suffix(".token").unlink(missing_ok=True)


def problem() -> str:
    """Why a portside could not be announced here; "" where it could."""
    folder = directory()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        if there == folder:
            _check_ours(folder)
    except OSError as error:
        return error.strerror or str(error)
    return "" if os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written to"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_ours(path.parent)
    draft = path.with_suffix(".new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    files.replace(draft, path)


def _check_ours(folder: Path) -> None:
    """In a temporary folder that all share, somebody else may have been there first. Raises OSError."""
    _check_owner(folder)
    there = folder.lstat()
    if not stat.S_ISDIR(there.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "it is no folder")
    if stat.S_IMODE(there.st_mode) != 0o700:
        folder.chmod(0o700)


def _check_owner(path: Path) -> None:
    """Raises OSError for what another user made, and for a link."""
    there = path.lstat()
    if stat.S_ISLNK(there.st_mode) or files.is_other_users(there.st_uid):
        raise PermissionError(errno.EPERM, "it belongs to another user")
