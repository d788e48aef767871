"""Makes files that only this user reads, replaces files at once, and knows the user's folder for runtime files."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

PLATFORM = sys.platform

# On Windows a file that another program has open (an editor, a virus scanner) cannot be replaced at that moment.
IS_OFTEN_OPEN = sys.platform == "win32"
REPLACE_TRIES, REPLACE_PAUSE = 20, 0.05


@contextmanager
def secret_file(content: bytes) -> Iterator[str]:
    """A name to read the content by, for the length of the block: in memory where the system can. Raises OSError."""
    descriptor = -1
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # a sandbox, or a C library, without it
            descriptor = os.memfd_create("portside")
    if descriptor < 0 or not os.path.exists(f"/proc/self/fd/{descriptor}"):
        if descriptor >= 0:
            os.close(descriptor)
        with temporary_file(content) as name:
            yield name
        return
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{descriptor}"


@contextmanager
def temporary_file(content: bytes, suffix: str = "") -> Iterator[str]:
    """Ours alone (0600), closed before anybody reads it (Windows), and gone afterwards. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix="portside-", suffix=suffix)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        yield name
    finally:
        os.unlink(name)


def write_whole_file(path: Path, text: str) -> None:
    """Replaces the file at once by one of mode 0600 with `text` as it is. Raises OSError."""
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        replace(Path(draft), path)
    except BaseException:
        Path(draft).unlink()
        raise


def replace(draft: Path, path: Path) -> None:
    """Moves `draft` to `path`; on Windows again for a second while the file is open elsewhere. Raises OSError."""
    for _ in range(REPLACE_TRIES if IS_OFTEN_OPEN else 0):
        try:
            draft.replace(path)
        except PermissionError:
            time.sleep(REPLACE_PAUSE)
        else:
            return
    draft.replace(path)


def runtime_folder(environ: Mapping[str, str], home: Path, platform: str = sys.platform) -> Path:
    """Where this user's processes find each other's files: the same folder for every shell and for days."""
    if base := environ.get("XDG_RUNTIME_DIR"):
        return Path(base) / "portside"
    if platform == "darwin":  # $TMPDIR differs between shells, and what lies there for 3 days is removed
        return home / "Library" / "Caches" / "portside" / "run"
    if platform == "win32" and (local := environ.get("LOCALAPPDATA")):
        return Path(local) / "portside" / "run"
    return Path(tempfile.gettempdir()) / f"portside-{_user(environ)}"


def is_other_users(owner: int) -> bool:
    """Whether a file of this owner (st_uid) is another user's; on Windows the folder's own rights say that."""
    if sys.platform == "win32":
        return False
    return owner != os.getuid()


def _user(environ: Mapping[str, str]) -> object:
    if sys.platform == "win32":
        return environ.get("USERNAME", "user")
    return os.getuid()
