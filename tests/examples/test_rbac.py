"""examples/rbac on the real cluster: these rights are enough; without one of them, the message names the verb."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import yaml

from fixtures.cluster.bed import Bed
from tests.cluster_client.test_real_apiserver import kubeconfig
from tests.support.examples import EXAMPLES
from tests.support.objects import apply, deployment, rolled_out, service
from tests.support.probe import get
from tests.support.process import PORTSIDE, Record, portside
from watcher.cluster.kinds import RUN_ID_LABEL

pytestmark = pytest.mark.cluster

ROLE = EXAMPLES / "rbac" / "role.yaml"
CLUSTER_ROLE = EXAMPLES / "rbac" / "clusterrole.yaml"
LABELS = {RUN_ID_LABEL: "a-run"}


@pytest.fixture(scope="module")
def shop(bed: Bed, space: str) -> str:
    """A namespace with `web`, labelled as by Skaffold."""
    apply(bed, space, deployment("web", labels=LABELS), service("web", labels=LABELS))
    rolled_out(bed, space, "web")
    return space


def user(bed: Bed, space: str, folder: Path, name: str, role: Path, *, without: str = "") -> dict[str, str]:
    """The environment of a user with only the role of that file, or with all of it except one resource."""
    manifest = yaml.safe_load(role.read_text())
    manifest["metadata"]["name"] = name
    manifest["rules"] = [rule for rule in manifest["rules"] if without not in rule["resources"]]
    apply(bed, space, manifest)
    bed.kubectl("-n", space, "create", "serviceaccount", name)
    words = ("create", "rolebinding", name, f"--{manifest['kind'].lower()}={name}", f"--serviceaccount={space}:{name}")
    bed.kubectl("-n", space, *words)
    token = bed.kubectl("-n", space, "create", "token", name).strip()
    return bed.environment() | {"KUBECONFIG": kubeconfig(bed, folder / name, {"token": token})}


@pytest.fixture
def least(bed: Bed, shop: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    yield user(bed, shop, tmp_path, "least", ROLE)
    bed.kubectl("-n", shop, "delete", "serviceaccount/least", "role/least", "rolebinding/least")


async def test_the_least_role_is_enough(shop: str, least: dict[str, str], tmp_path: Path) -> None:
    """For `forward` and `watch --cluster`; `doctor` misses only the other namespaces."""
    async with portside("forward", "-n", shop, "svc/web", ":8080", environment=least, folder=tmp_path) as running:
        assert (await get((await running.ready("web"))["localPort"]))[0] == 200
    words = ("watch", "--cluster", "-n", shop, "--port-forward=services,pods")
    async with portside(*words, environment=least, folder=tmp_path) as running:
        for source in ("services", "pods"):
            assert (await get((await running.ready("web", source=source))["localPort"]))[0] == 200
    code, findings = await doctor(shop, least, tmp_path)
    assert code == 0, findings
    assert [level for check, level, _ in findings if check == "permissions"] == ["ok", "note"]
    assert ("transport", "ok") in {(check, level) for check, level, _ in findings}


def refused(records: list[Record]) -> list[Record]:
    """The records that say that forwarding is not allowed."""
    return [record for record in records if "pods/portforward" in record.get("reason", "")]


async def test_without_portforward_the_verb_is_named(bed: Bed, shop: str, tmp_path: Path) -> None:
    """By `forward` and by `doctor`."""
    few = user(bed, shop, tmp_path, "few", ROLE, without="pods/portforward")
    async with portside("forward", "-n", shop, "svc/web", ":8080", environment=few, folder=tmp_path) as running:
        await running.wait_for(
            lambda records: bool(refused(records))
        )  # nothing else is forwarded, so portside ends then
        record = refused(running.records)[0]
        assert record["state"] != "ready"
        assert "create" in record["reason"]
    code, findings = await doctor(shop, few, tmp_path)
    assert code == 1
    missing = f"create and get pods/portforward in namespace {shop} is not allowed: nothing can be forwarded there"
    assert ("permissions", "error", missing) in findings


def test_the_cluster_role_is_the_role(bed: Bed) -> None:
    """The rules are equal, and the API server accepts both."""
    role, cluster_role = (yaml.safe_load(path.read_text()) for path in (ROLE, CLUSTER_ROLE))
    assert role["rules"] == cluster_role["rules"]
    for path in (ROLE, CLUSTER_ROLE):
        bed.kubectl("apply", "--dry-run=server", "-f", str(path))


async def doctor(space: str, environment: dict[str, str], folder: Path) -> tuple[int, list[tuple[str, str, str]]]:
    """Its exit code, and check, level and text of each finding."""
    done = await trio.run_process(
        [PORTSIDE, "doctor", "-n", space, "--output", "json"],
        env=environment,
        cwd=folder,
        capture_stdout=True,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, [(found["check"], found["level"], found["found"]) for found in findings]
