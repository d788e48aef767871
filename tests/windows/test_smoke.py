"""portside in a real CPython for Windows under Wine, on the real cluster: forward, status, a deleted pod, Ctrl-C."""

from __future__ import annotations

import os
import pty
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from fixtures.cluster.bed import Bed
from fixtures.wine.install import Windows
from tests.support.objects import apply, deployment, namespace, rolled_out, service
from tests.support.probe import get
from tests.support.process import Portside, portside

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

# Seconds. Wine starts Python in two, on a busy machine in twenty.
PATIENCE = 90.0
CTRL_C = b"\x03"


@pytest.fixture(scope="module")
def space(bed: Bed) -> Iterator[str]:
    with namespace(bed, f"windows-{secrets.token_hex(4)}") as name:
        apply(bed, name, deployment("web"), service("web"))
        rolled_out(bed, name, "web")
        yield name


def environment(bed: Bed, windows: Windows) -> dict[str, str]:
    kubeconfig = f"Z:{bed.kubeconfig}".replace("/", "\\")
    return windows.environment() | {"KUBECONFIG": kubeconfig, "XDG_RUNTIME_DIR": ""}


@asynccontextmanager
async def forwarding(bed: Bed, windows: Windows, space: str) -> AsyncIterator[tuple[Portside, int]]:
    """`portside forward svc/web` with a console, and the descriptor that types into that."""
    keyboard, terminal = pty.openpty()
    words = ("forward", "-n", space, "svc/web", ":8080")
    try:
        async with portside(
            *words, terminal=terminal, environment=environment(bed, windows), program=windows.portside
        ) as running:
            yield running, keyboard
    finally:
        os.close(keyboard)
        os.close(terminal)


async def test_a_forward_on_windows_outlives_its_pod(bed: Bed, windows: Windows, space: str) -> None:
    """It serves at three addresses, `status` leaves it running, it finds the new pod, Ctrl-C ends it with code 0."""
    async with forwarding(bed, windows, space) as (running, keyboard):
        port = int((await running.ready("web", PATIENCE))["localPort"])
        for host in ("127.0.0.1", "::1", "localhost"):
            assert (await get(port, host=host))[0] == 200
        said = await trio.run_process(
            [*windows.portside, "status"],
            stdin=b"",
            capture_stdout=True,
            capture_stderr=True,
            env=environment(bed, windows),
        )
        assert f"http://127.0.0.1:{port}" in said.stdout.decode()
        assert (await get(port))[0] == 200
        await trio.to_thread.run_sync(partial(bed.kubectl, "-n", space, "delete", "pod", "--all", "--wait=false"))
        assert (await get(port))[0] == 200
        os.write(keyboard, CTRL_C)
        assert await running.wait(PATIENCE) == 0
        assert not running.forwards
