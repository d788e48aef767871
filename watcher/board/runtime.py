"""Owns the runtime directory: one small file for each portside that runs, so that others find its status address.

Beside it, where that address needs one, its token. Mode 0600 in a directory of mode 0700.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from watcher import user_files
from watcher.errors import UsageError

logger = logging.getLogger("portside.board")


class Running(msgspec.Struct, frozen=True):
    """One portside: its process, its status URL, its command's name, the folder it was started in.

    `token_file`: where the token stands that the status URL asks for, "" where it asks for none.
    """

    pid: int
    url: str
    command: str
    folder: str
    token_file: str = ""

    def headers(self) -> dict[str, str]:
        """What a question to its status URL must carry. Raises OSError where the token cannot be read."""
        if not self.token_file:
            return {}
        return {"Authorization": f"Bearer {user_files.read_text(self.token_file, user_files.SECRET).strip()}"}


def directory() -> Path:
    """$XDG_RUNTIME_DIR/portside, else a folder of this user's in the system's temporary one."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base:
        return Path(base) / "portside"
    return (
        Path(tempfile.gettempdir()) / f"portside-{os.getuid() if hasattr(os, 'getuid') else os.environ.get('USERNAME')}"
    )


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
    """Those that run now, the newest last; files of processes that are gone are removed."""
    all_running: list[tuple[float, Running]] = []
    try:
        _check_ours(directory())
    except OSError:
        return []
    for path in directory().glob("*.json"):
        try:
            since = path.stat().st_mtime
            running = msgspec.json.decode(user_files.read_bytes(path, user_files.SECRET), type=Running)
            os.kill(running.pid, 0)
        except (OSError, OverflowError, msgspec.DecodeError):
            path.unlink(missing_ok=True)
            path.with_suffix(".token").unlink(missing_ok=True)
            continue
        all_running.append((since, running))
    return [running for _, running in sorted(all_running, key=lambda pair: pair[0])]


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
    draft.replace(path)


def _check_ours(folder: Path) -> None:
    """In a temporary folder that all share, somebody else may have been there first. Raises OSError."""
    there = folder.lstat()
    if not stat.S_ISDIR(there.st_mode) or (hasattr(os, "getuid") and there.st_uid != os.getuid()):
        raise PermissionError(errno.EPERM, "it belongs to another user")
    if stat.S_IMODE(there.st_mode) != 0o700:
        folder.chmod(0o700)
