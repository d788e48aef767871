"""On the test bed this machine is the node: connections go to pods' own addresses, and every byte arrives."""

from __future__ import annotations

from hashlib import sha256

import pytest
import trio

from fixtures.cluster.bed import Bed
from tests.support.objects import apply, deployment, rolled_out
from tests.support.probe import get, reach_directly
from tests.support.process import portside

pytestmark = pytest.mark.cluster

LARGE = 20_000_000
# Localhost alone: the app's port for debuggers is not asked for here, nothing listens on it at the pod's address.
NOBODY = 7999


@pytest.mark.parametrize("direct", ["auto", "always"])
async def test_connections_go_to_the_pod(bed: Bed, space: str, direct: str) -> None:
    """By proof or by the user's word; what is large is moved by the kernel; a port that refuses is refused as ever."""
    apply(bed, space, deployment("web"))
    rolled_out(bed, space, "web")
    words = ("forward", "-v", "-n", space, "--hold", "1", "deploy/web", ":8080", f":{NOBODY}")
    async with portside(*words, environment=bed.environment() | {"PORTSIDE_DIRECT": direct}) as running:
        port = await reach_directly(running, "web", 8080)
        for _ in range(3):
            status, fields, body = await get(port, f"/bytes?n={LARGE}")
            assert (status, len(body), sha256(body).hexdigest()) == (200, LARGE, fields["x-sha256"])
        assert ("runs on node" in running.stderr) is (direct == "auto")
        refused = (await running.ready("web", remotePort=NOBODY))["localPort"]
        with pytest.raises((OSError, EOFError, trio.BrokenResourceError)):
            await get(refused)
        assert (running.last("web", remotePort=NOBODY) or {})["via"] == "apiserver"
