"""Owns the runtime directory: one small file for each portside that runs, so that others find its status address.

Refuses secrets: pid, address, command and start, mode 0600 in a directory of mode 0700.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec


class Running(msgspec.Struct, frozen=True):
    """One portside: its process, its status URL, its command's name, the folder it was started in."""

    pid: int
    url: str
    command: str
    folder: str


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
    """The file stands while the block runs."""
    folder = directory()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{running.pid}.json"
    draft = path.with_suffix(".new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(running))
    draft.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def found() -> list[Running]:
    """Those that run now; files of processes that are gone are removed."""
    all_running = []
    for path in sorted(directory().glob("*.json")):
        try:
            running = msgspec.json.decode(path.read_bytes(), type=Running)
            os.kill(running.pid, 0)
        except (OSError, msgspec.DecodeError):
            path.unlink(missing_ok=True)
            continue
        all_running.append(running)
    return all_running
