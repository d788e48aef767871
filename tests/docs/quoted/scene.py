"""The surroundings of a producer: a folder, the log, and portside's commands without Skaffold or a cluster."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest

from tests.support.process import PORTSIDE

HERE = "127.0.0.1"
BARE = {"PATH": "/nowhere"}


class Scene:
    """What producers need from a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stream = StringIO()

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Keeps what is logged during the block."""
        handler, root = logging.StreamHandler(self._stream), logging.getLogger("portside")
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)

    @property
    def logged(self) -> str:
        return self._stream.getvalue()

    def command(self, *words: str, **more: str) -> str:
        """The output of a command, without Skaffold, a cluster or other portsides."""
        environment = {**BARE, "HOME": str(self.folder), "XDG_RUNTIME_DIR": str(self.folder), **more}
        done = subprocess.run(
            [PORTSIDE, *words],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout + done.stderr


async def said(work: Awaitable[object], kind: type[Exception]) -> str:
    """The text of the error that the work ends with."""
    with pytest.raises(kind) as caught:
        await work
    return str(caught.value)
