"""1,000 POSTs through `portside forward` while pods go and come: none arrives twice."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import trio

from fixtures.cluster.bed import Bed
from tests.support.objects import Manifest, apply, deployment, rolled_out
from tests.support.probe import Answer, get, outcome
from tests.support.process import portside

pytestmark = pytest.mark.cluster

REQUESTS = 1000
PACE = 0.004  # seconds between two
LABEL = "app=count"


@pytest.fixture
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this machine, which the pods write to."""
    return tmp_path_factory.mktemp("count")


async def test_no_request_arrives_twice(bed: Bed, space: str, record: Path) -> None:
    """A request may fail inside the app that dies under it; it never comes to an app again, and no other fails."""
    apply(bed, space, counting(record))
    rolled_out(bed, space, "count")
    found: dict[str, Answer | str] = {}

    async def post(port: int, ident: str) -> None:
        found[ident] = await outcome(get(port, f"/count?id={ident}", method="POST"))

    async with portside("forward", "-n", space, "deploy/count", ":8080", environment=bed.environment()) as running:
        port = (await running.ready("count"))["localPort"]
        changed = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_change_pods, bed, space, changed)
            async with trio.open_nursery() as posts:
                number = 0
                while number < REQUESTS or not changed.is_set():
                    posts.start_soon(post, port, f"id-{number}")
                    number += 1
                    await trio.sleep(PACE)
    arrived = Counter((record / "ids").read_text().split())
    failed = {ident: fate for ident, fate in found.items() if isinstance(fate, str) or fate[0] != 200}
    assert len(found) >= REQUESTS
    assert not {ident: times for ident, times in arrived.items() if times > 1}
    assert found.keys() - failed.keys() <= arrived.keys()
    assert not {ident: fate for ident, fate in failed.items() if ident not in arrived}


def counting(record: Path) -> Manifest:
    """The app, which notes every id in a file that outlives its pods."""
    manifest = deployment("count", COUNT_FILE="/count/ids")
    pod = manifest["spec"]["template"]["spec"]
    pod["containers"][0]["volumeMounts"] = [{"name": "count", "mountPath": "/count"}]
    pod["volumes"] = [{"name": "count", "hostPath": {"path": str(record), "type": "Directory"}}]
    return manifest


async def _change_pods(bed: Bed, space: str, changed: trio.Event) -> None:
    for command in (("rollout", "restart", "deployment/count"), ("delete", "pod", "-l", LABEL, "--wait=false")) * 2:
        await _kubectl(bed, space, *command)
        await _kubectl(bed, space, "rollout", "status", "deployment/count", "--timeout=60s")
    changed.set()


async def _kubectl(bed: Bed, space: str, *arguments: str) -> None:
    await trio.to_thread.run_sync(partial(bed.kubectl, "-n", space, *arguments, timeout=90))
