"""A program for the variable BROWSER that keeps the URLs it is started with."""

from __future__ import annotations

import os
from pathlib import Path

import trio

# Seconds that a test waits for the program.
PATIENCE = 60


class FakeBrowser:
    """It writes each URL to a file, and then to a FIFO, so that a test can wait for it. Sets BROWSER."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._pages, self._fifo = folder / "pages", folder / "opened"
        os.mkfifo(self._fifo)
        program = folder / "browser"
        program.write_text(f'#!/bin/sh\necho "$1" >>{self._pages}\necho "$1" >{self._fifo}\n')
        program.chmod(0o755)
        environment["BROWSER"] = str(program)

    async def next(self) -> str:
        """The next URL that it is started with."""
        with trio.fail_after(PATIENCE):
            return (await trio.Path(self._fifo).read_text()).strip()

    @property
    def all(self) -> list[str]:
        return self._pages.read_text().splitlines() if self._pages.exists() else []
