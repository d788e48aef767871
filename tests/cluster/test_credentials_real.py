"""Rights on the real API server: what a role in one namespace allows, and what comes of one that is given later."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
import trio
import yaml

from fixtures.cluster.bed import Bed
from tests.support.objects import apply, namespace, service
from watcher.cluster.api_client import ApiClient
from watcher.cluster.cluster_config import load_cluster_config
from watcher.cluster.clusters import Watches
from watcher.cluster.kinds import SERVICE
from watcher.cluster.store import Snapshot, Watch

pytestmark = pytest.mark.cluster

SPACE = "rights"
# A forbidden watch asks again after 15 s; the rest is for a busy machine.
PATIENCE = 60.0


@pytest.fixture
def space(bed: Bed) -> Iterator[str]:
    """A namespace with a service and a service account `reader` without any rights."""
    with namespace(bed, SPACE) as name:
        bed.kubectl("-n", name, "create", "serviceaccount", "reader")
        apply(bed, name, service("web"))
        yield name


def give_role(bed: Bed, space: str) -> None:
    bed.kubectl("-n", space, "create", "role", "reader", "--verb=list,watch", "--resource=services")
    bed.kubectl("-n", space, "create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={space}:reader")


async def test_a_role_that_is_given_later_works_and_allows_its_namespace_alone(
    bed: Bed, space: str, tmp_path: Path
) -> None:
    """Both watches are forbidden at first; then the namespace's one has its objects, the cluster-wide one stays so."""
    content = yaml.safe_load(bed.kubeconfig.read_text())
    content["users"][0]["user"] = {"token": bed.kubectl("-n", space, "create", "token", "reader").strip()}
    (tmp_path / "config").write_text(json.dumps(content))
    config = await load_cluster_config(str(tmp_path / "config"), None)
    here, everywhere = Watch(SERVICE, space), Watch(SERVICE, "")
    changed = trio.Event()

    def on_change() -> None:
        changed.set()

    async def until(condition: Callable[[Snapshot], bool]) -> None:
        nonlocal changed
        with trio.fail_after(PATIENCE):
            while not condition(watches.snapshot):
                changed = trio.Event()
                await changed.wait()

    async with ApiClient(config.server) as client, trio.open_nursery() as nursery:
        watches = Watches(client, on_change, Random(0))
        watches.want(frozenset({here, everywhere}))
        await nursery.start(watches.run)
        await until(lambda now: {here, everywhere} <= now.problems.keys())
        assert all(problem.forbidden for problem in watches.snapshot.problems.values())
        assert not watches.snapshot.objects
        await trio.to_thread.run_sync(give_role, bed, space)
        await until(lambda now: now.synced(here) and here not in now.problems)
        assert set(watches.snapshot.objects[here]) == {(space, "web")}
        assert watches.snapshot.problems[everywhere].forbidden
        assert not watches.snapshot.synced(everywhere)
        nursery.cancel_scope.cancel()
