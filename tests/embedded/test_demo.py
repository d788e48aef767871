"""The demo, with this machine's virtual environment."""

from __future__ import annotations

import sys

import trio


async def test_the_demo_shows_what_it_says() -> None:
    """It forwards, fetches, replaces the pod, fetches again from the new one, and ends with 0."""
    with trio.fail_after(120):
        command = [sys.executable, "-m", "fixtures.demo"]
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    shown = done.stdout.decode()
    assert done.returncode == 0, shown + done.stderr.decode()
    assert shown.index("Hello, version 1.") < shown.index("is replaced") < shown.index("Hello, version 2.")
