"""Lists the portsides that run on this machine, through one small file for each in the runtime directory.

A file holds the status address, and beside it lies the token if that address needs one. Files have mode 0600 in a
directory of mode 0700. A file is valid only while the process that wrote it runs: the system reuses process ids, and a
token must not go to another process.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from forwarders.system import files
from forwarders.system.processes import start_time
from watcher import user_files
from watcher.errors import UsageError

logger = logging.getLogger("portside.board")

# Bytes. A runtime file has a few hundred, a token fewer.
MAX_FILE = 64 * 1024


_Kind = TypeVar("_Kind")


class _Process(msgspec.Struct, frozen=True):
    """What a runtime file of every version has."""

    pid: int


class About(msgspec.Struct, frozen=True):
    """Identifies one portside to people.

    `command`: portside's own, such as `watch`. `context`: the default kube-context, "" without a cluster.
    `namespace`: "" for all namespaces. `url`: of the status address, "" with --status off.
    `skaffold`: the address of the Skaffold API that it follows, "" without Skaffold.
    """

    pid: int
    url: str
    command: str
    folder: str
    context: str = ""
    namespace: str = ""
    skaffold: str = ""

    @property
    def place(self) -> str:
        """Context and namespace, as one text."""
        if not self.context:
            return "no cluster"
        return f"context {self.context}, {f'namespace {self.namespace}' if self.namespace else 'all namespaces'}"

    @property
    def page(self) -> str:
        """The address of the page for people, or that there is none."""
        return f"page {self.url}" if self.url else "no page (--status off)"

    @property
    def where(self) -> str:
        """Context, namespace and the page's address, as one text."""
        return f"{self.place}, {self.page}"

    @property
    def first_line(self) -> str:
        """The first line that a forwarding command prints."""
        return f"portside {self.command}: {self.where}"

    @property
    def name(self) -> str:
        """Names this portside with command, pid and folder."""
        return f"portside {self.command} (pid {self.pid}, {self.folder})"


class Instance(About, frozen=True):
    """One running portside, as its runtime file describes it.

    `token_file`: holds the token for its status address, "" if that needs none.
    `began`: the start time of its process (`processes.start_time`), 0 if the file does not have it.
    """

    token_file: str = ""
    began: float = 0.0

    def headers(self) -> dict[str, str]:
        """The headers that its status address requires. Raises OSError if the token cannot be read or sent."""
        if not self.token_file:
            return {}
        if self.began and not self.runs:
            raise ProcessLookupError(errno.ESRCH, "its process has ended")
        return {"Authorization": f"Bearer {user_files.read_text(self.token_file, MAX_FILE).strip()}"}

    @property
    def runs(self) -> bool:
        """Whether the process that wrote the file still runs."""
        now = start_time(self.pid)
        return now is not None and self.began in {0, now}


def current_folder() -> str:
    """The working folder, "" if it has been deleted. Bytes that are not UTF-8 become question marks."""
    try:
        return str(Path.cwd()).encode(errors="replace").decode()
    except OSError:
        return ""


def directory() -> Path:
    """The runtime directory: $XDG_RUNTIME_DIR/portside, or else a folder of this user (`system.files`)."""
    return files.runtime_folder(os.environ, user_files.home_folder())


@contextlib.contextmanager
def announced(instance: Instance) -> Iterator[None]:
    """Keeps a runtime file while the block runs. If it cannot be written, a warning is logged and the block runs."""
    path = directory() / f"{instance.pid}.json"
    with _file(path, msgspec.json.encode(instance).decode()) as problem:
        if problem:
            logger.warning("`portside status` will not find this portside: %s: %s", path, problem)
        yield


@contextlib.contextmanager
def stored_token(token: str) -> Iterator[Path]:
    """Keeps `token` in a file while the block runs. Raises UsageError: without it no client can authenticate."""
    path = directory() / f"{os.getpid()}.token"
    with _file(path, token) as problem:
        if problem:
            raise UsageError(
                f"the status address's token cannot be stored in {path}: {problem}; give --status-token-file"
            )
        yield path


@contextlib.contextmanager
def _file(path: Path, text: str) -> Iterator[str]:
    """Keeps a file in the runtime directory while the block runs. Yields why it cannot be written, "" if it is."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_folder(path.parent)
        files.write_whole_file(path, text)
    except OSError as error:
        yield error.strerror or str(error)
        return
    try:
        yield ""
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def running_instances() -> list[Instance]:
    """The portsides that run now, the newest last. Removes the files of processes that have ended."""
    by_age: list[tuple[float, Instance]] = []
    try:
        _check_folder(directory())
        paths = [*directory().glob("*.json")]
    except OSError:
        return []
    for path in paths:
        try:
            since, data = _own_stat(path).st_mtime, user_files.read_bytes(path, MAX_FILE)
        except OSError:
            continue  # removed meanwhile, or not a file that a portside wrote
        instance = _decoded(data, Instance)
        if instance is not None and instance.runs:
            # Without a start time nothing proves that this process may have the token.
            if instance.began or not instance.token_file:
                by_age.append((since, instance))
        elif instance is not None or not ((other := _decoded(data, _Process)) and start_time(other.pid) is not None):
            # Not the file of a later version, whose format this one does not know.
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                path.with_suffix(".token").unlink(missing_ok=True)
    return [instance for _, instance in sorted(by_age, key=lambda pair: pair[0])]


def _decoded(data: bytes, kind: type[_Kind]) -> _Kind | None:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def problem() -> str:
    """Why no runtime file can be written here, "" if one can."""
    folder = directory()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        if existing == folder:
            _check_folder(folder)
    except OSError as error:
        return error.strerror or str(error)
    return "" if os.access(existing, os.W_OK | os.X_OK) else f"{existing} is not writable"


def _check_folder(folder: Path) -> None:
    """Refuses a runtime directory that another user created first (in /tmp), and sets its mode. Raises OSError."""
    found = _own_stat(folder)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "it is no folder")
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)


def _own_stat(path: Path) -> os.stat_result:
    """The state of this user's file. Refuses a symbolic link, and a file of another user. Raises OSError."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or files.is_other_users(found.st_uid):
        raise PermissionError(errno.EPERM, "it belongs to another user")
    return found
