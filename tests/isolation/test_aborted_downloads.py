"""Clients abort endless downloads: the downloads stop, and other connections are as fast as before.

A runtime that starts socat continues them after our RST_STREAM; only the end of the session stops them.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
import trio

from fixtures.cluster.bed import Bed
from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.apps import standard
from fixtures.embedded.runtimes import MODES, RuntimeMode
from fixtures.net.way import reset
from tests.support.objects import apply, deployment, namespace, rolled_out
from tests.support.probe import get
from tests.support.process import portside

# Seconds from the abort until the download must be over.
BACK_WITHIN = 3.0
# Of a short request, in seconds: what a busy machine adds to what was normal before.
NOISE = 0.05
# Seconds until requests must be quick again, and the bytes of a download: five of them take longer than that.
PATIENCE, LONG = 20.0, 2_000_000_000


async def abort_a_download(port: int, path: str) -> None:
    """Reads a part of it, then resets the connection."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    for _ in range(5):
        assert await stream.receive_some()
    reset(stream)


async def typical(port: int) -> float:
    """The median of some short requests, in seconds."""
    times = []
    for _ in range(9):
        began = trio.current_time()
        assert (await get(port))[0] == 200
        times.append(trio.current_time() - began)
    return statistics.median(times)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
async def test_an_application_is_stopped(tmp_path: Path, mode: RuntimeMode) -> None:
    """It ends within 3 s with any runtime, though the application would send for 50 s."""
    async with EmbeddedCluster.open(mode=mode) as cluster:
        pod = await cluster.pod("web", standard("aborted"))
        kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig")
        async with portside("forward", f"--kubeconfig={kubeconfig}", "--address=127.0.0.1", "pod/web", ":8080") as run:
            port = (await run.ready("web"))["localPort"]
            await abort_a_download(port, "/stream?n=10000&ms=5")
            assert pod.sandbox.conversations
            with trio.fail_after(BACK_WITHIN):
                await pod.sandbox.idle()


@pytest.mark.cluster
@pytest.mark.every_bed("isolation: aborted downloads")
async def test_others_are_as_quick_as_before(bed: Bed) -> None:
    """Five long downloads are aborted: they end, so a short request takes as long as before again."""
    with namespace(bed, "aborted") as space:
        apply(bed, space, deployment("web"))
        rolled_out(bed, space, "web")
        arguments = ("forward", "-n", space, "--address=127.0.0.1", "deployment/web", ":8080")
        async with portside(*arguments, environment=bed.environment()) as run:
            port = (await run.ready("web"))["localPort"]
            before = await typical(port)
            for _ in range(5):
                await abort_a_download(port, f"/bytes?n={LONG}")
            with trio.fail_after(PATIENCE):
                while await typical(port) > 3 * before + NOISE:
                    pass
