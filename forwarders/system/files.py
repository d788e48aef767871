"""Creates private files, replaces files atomically, and knows the limit of open files and the user's runtime folder.

The last file descriptors are a reserve: sessions need them more than new local connections do. Nothing here waits for
a free descriptor; callers ask, and pause. On Windows the limit does not concern sockets.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import resource

PLATFORM = sys.platform

# On Windows a file cannot be replaced while another program (an editor, a virus scanner) has it open.
IS_OFTEN_OPEN = sys.platform == "win32"
REPLACE_TRIES, REPLACE_PAUSE = 20, 0.05

# A connection needs one descriptor, and every fifth one a session. Many systems start programs with a soft limit of
# 1,024 (what select(2) can take) and allow far more; Go's programs ask for all. Children inherit the limit, so it is
# not raised without bound.
ENOUGH = 65_536
# macOS refuses more than kern.maxfilesperproc, though the hard limit is infinite: these are tried in turn.
LESS = (10_240, 4_096)
# A folder in memory on every Linux (shm_overview(7)).
IN_MEMORY = "/dev/shm"  # noqa: S108 - its files have mode 0600 and a name that nobody can guess
# Kept for sessions, watches, plugins and name look-ups, so that a flood of clients cannot take what they need.
RESERVE, LARGEST_SHARE = 64, 8


@contextmanager
def secret_file(content: bytes) -> Iterator[str]:
    """Yield the name of a file with the content, for the time of the block; in memory if possible. Raises OSError."""
    descriptor = -1
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # a sandbox without it, or a Python for old systems (uv's)
            descriptor = os.memfd_create("portside")
    if descriptor < 0 or not os.path.exists(f"/proc/self/fd/{descriptor}"):
        if descriptor >= 0:
            os.close(descriptor)
        folder = IN_MEMORY if sys.platform == "linux" and os.access(IN_MEMORY, os.W_OK | os.X_OK) else None
        with temporary_file(content, folder=folder) as name:
            yield name
        return
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{descriptor}"


@contextmanager
def temporary_file(content: bytes, suffix: str = "", folder: str | None = None) -> Iterator[str]:
    """Yield the name of a closed file of mode 0600, which is deleted after the block. Raises OSError.

    `folder`: where it is; None: where the system keeps temporary files.
    """
    import tempfile  # noqa: PLC0415 - early_ports needs this module, and `random` behind this one takes 10 ms

    descriptor, name = tempfile.mkstemp(prefix="portside-", suffix=suffix, dir=folder)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        yield name
    finally:
        os.unlink(name)


def write_whole_file(path: Path, text: str) -> None:
    """Replaces the file atomically with one of mode 0600 that contains exactly `text`. Raises OSError."""
    import tempfile  # noqa: PLC0415 - as above

    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        replace(Path(draft), path)
    except BaseException:
        Path(draft).unlink()
        raise


def replace(draft: Path, path: Path) -> None:
    """Moves `draft` to `path`; on Windows retries for a second while another program has it open. Raises OSError."""
    for _ in range(REPLACE_TRIES if IS_OFTEN_OPEN else 0):
        try:
            draft.replace(path)
        except PermissionError:
            time.sleep(REPLACE_PAUSE)
        else:
            return
    draft.replace(path)


def runtime_folder(environ: Mapping[str, str], home: Path, platform: str = sys.platform) -> Path:
    """The folder in which this user's processes find each other's files: the same in every shell, and for days."""
    if base := environ.get("XDG_RUNTIME_DIR"):
        return Path(base) / "portside"
    if platform == "darwin":  # $TMPDIR differs between shells, and the system deletes its files after 3 days
        return home / "Library" / "Caches" / "portside" / "run"
    if platform == "win32" and (local := environ.get("LOCALAPPDATA")):
        return Path(local) / "portside" / "run"
    import tempfile  # noqa: PLC0415 - as above

    return Path(tempfile.gettempdir()) / f"portside-{_user(environ)}"


def is_other_users(owner: int) -> bool:
    """Whether another user owns a file with this st_uid; on Windows the folder's access rights protect it instead."""
    if sys.platform == "win32":
        return False
    return owner != os.getuid()


def _user(environ: Mapping[str, str]) -> object:
    if sys.platform == "win32":
        return environ.get("USERNAME", "user")
    return os.getuid()


def machine_id() -> str:
    """The id of this installation of Linux (machine-id(5)), which a kubelet reports too; "" where there is none."""
    if sys.platform == "linux":
        with suppress(OSError, ValueError):
            return Path("/etc/machine-id").read_text(encoding="ascii").strip()
    return ""


# The limit of open files


def descriptor_limit() -> int | None:
    """How many descriptors may be open at once (`ulimit -n`); None: any number."""
    if sys.platform != "win32":
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return None if soft == resource.RLIM_INFINITY else soft
    else:  # noqa: RET505 - mypy knows platforms only in blocks
        return None


def raise_descriptor_limit() -> int | None:
    """Raises the soft limit towards the hard one as far as the system allows; returns the limit that is then set."""
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
        for wanted in (most, *(less for less in LESS if less < most)):
            if soft == resource.RLIM_INFINITY or soft >= wanted:
                break
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                break
    return descriptor_limit()


def is_reserved(descriptor: int) -> bool:
    """Whether `descriptor` belongs to the reserve. open(2) returns the lowest free one, so few others are left then."""
    soft = descriptor_limit()
    return soft is not None and descriptor >= soft - min(RESERVE, soft // LARGEST_SHARE)


def descriptors_are_scarce() -> bool:
    """Whether only the reserve of file descriptors is left."""
    try:
        lowest = os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return True
    os.close(lowest)
    return is_reserved(lowest)


def boot_clock() -> float:
    """A clock in seconds that counts while the machine sleeps; off Linux the wall clock, which users may set."""
    if sys.platform != "linux":
        return time.time()
    return time.clock_gettime(time.CLOCK_BOOTTIME)
