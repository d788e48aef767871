"""A second Ctrl-C ends portside at once; before that it reported that it was still shutting down."""

from __future__ import annotations

import os
import pty
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.skaffold_api import Recording, SkaffoldApi
from tests.cli.made import Place
from tests.support.process import Portside, portside

LOG = b'{"result":{"skaffoldLogEvent":{"message":"tick"}}}'
REASON = "leaving now would freeze it"


@asynccontextmanager
async def endless(recording: Recording) -> AsyncIterator[SkaffoldApi]:
    async with SkaffoldApi.open(recording) as skaffold:
        skaffold.endless = LOG
        yield skaffold


@asynccontextmanager
async def stuck(place: Place, terminal: int) -> AsyncIterator[Portside]:
    """`watch` on a terminal, beside a Skaffold whose replay never ends."""
    recording, _ = Recording.load("handle-post").split("DevLoop", "Succeeded")
    async with endless(recording) as skaffold:
        words = ("watch", "--skaffold", skaffold.url, "--port-forward=services")
        async with portside(*words, environment=place.environment, folder=place.folder, terminal=terminal) as program:
            with trio.fail_after(60):
                await skaffold.first_reader.wait()
            yield program


async def test_a_replay_that_never_ends(cluster: EmbeddedCluster, place: Place) -> None:
    """After the first Ctrl-C portside says why it stays; the second ends it."""
    controller, terminal = pty.openpty()
    try:
        async with stuck(place, terminal) as program:
            os.write(controller, b"\x03")
            await program.says(REASON)
            assert program.process.returncode is None
            os.write(controller, b"\x03")
            assert await program.wait() == 128 + signal.SIGINT
            assert "Traceback" not in program.stderr
    finally:
        os.close(controller)
        os.close(terminal)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_two_signals_together_are_one(cluster: EmbeddedCluster, place: Place, second: signal.Signals) -> None:
    """Two signals at the same time, from a terminal and a wrapper, count as one; a later one counts."""
    controller, terminal = pty.openpty()
    try:
        async with stuck(place, terminal) as program:
            program.process.send_signal(signal.SIGSTOP)  # so that both arrive together, however slow this machine is
            program.process.send_signal(signal.SIGINT)
            program.process.send_signal(signal.SIGTERM)
            program.process.send_signal(signal.SIGCONT)
            await program.says(REASON)
            assert program.process.returncode is None
            program.process.send_signal(second)
            assert await program.wait() == 128 + second
    finally:
        os.close(controller)
        os.close(terminal)


async def test_under_run(cluster: EmbeddedCluster, place: Place) -> None:
    """The second Ctrl-C ends portside and leaves a Skaffold that did not end."""
    place.write("skaffold", "#!/bin/sh\ntrap '' INT\necho started >&2\nwhile :; do sleep 1; done\n")
    os.chmod(place.folder / "skaffold", 0o700)
    words = ("run", "--", str(place.folder / "skaffold"), "dev")
    async with portside(*words, environment=place.environment, folder=place.folder, session=True) as program:
        await program.says("started")
        program.interrupt()
        with trio.move_on_after(0.5):
            await program.process.wait()
        assert program.process.returncode is None
        code: int | None = None
        with trio.fail_after(60):
            while code is None:  # those that come together count as one
                program.interrupt()
                with trio.move_on_after(1):
                    code = await program.process.wait()
        assert code == 128 + signal.SIGINT
