"""The real test bed: it comes up, repairs itself, runs the app, and only port forwarding reaches its pods."""

import dataclasses
import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.cluster.bed import Bed, status
from fixtures.cluster.health import node_ready
from fixtures.cluster.images import APP
from fixtures.cluster.layout import Layout
from fixtures.cluster.lifecycle import up
from fixtures.cluster.preconditions import missing
from fixtures.cluster.processes import holds

COMMAND = Path(__file__).resolve().parents[2] / "scripts" / "cluster"
POD = "testbed-app"
PORT = 8080
FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


def pod_manifest(name: str) -> str:
    """A pod with the app, which ends one second after it is deleted."""
    container = {"name": "app", "image": APP, "ports": [{"name": "http", "containerPort": PORT}]}
    spec = {"containers": [container], "automountServiceAccountToken": False}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


@pytest.fixture
def app_pod(bed: Bed, tmp_path: Path) -> Iterator[str]:
    """A Ready pod with the app, deleted after the test."""
    manifest = tmp_path / "pod.json"
    manifest.write_text(pod_manifest(POD))
    bed.kubectl("apply", "-f", str(manifest))
    bed.kubectl("wait", "--for=condition=Ready", f"pod/{POD}", "--timeout=30s")
    yield POD
    bed.kubectl("delete", "pod", POD, "--grace-period=1", "--ignore-not-found")


@pytest.fixture
def forwarded(bed: Bed, app_pod: str) -> Iterator[int]:
    """The local port at which kubectl forwards to the app's pod."""
    command = [str(bed.binary("kubectl")), "port-forward", f"pod/{app_pod}", f":{PORT}", "--address=127.0.0.1"]
    with subprocess.Popen(command, env=bed.environment(), stdout=subprocess.PIPE, text=True) as kubectl:
        assert kubectl.stdout is not None
        found = FORWARDING.search(kubectl.stdout.readline())
        assert found, "kubectl port-forward did not start"
        yield int(found[1])
        kubectl.terminate()


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.cluster
def test_node_is_ready(bed: Bed) -> None:
    """After `up` every server answers and the node accepts pods."""
    words = status(bed)
    assert words.pop("node") == "Ready"
    assert all(word.startswith("ready") for word in words.values()), words


@pytest.mark.cluster
def test_up_is_idempotent(bed: Bed) -> None:
    """A second `up` on a healthy bed changes no process and returns within 2 seconds."""
    before = {name: item.server.pid for name, item in bed.components.items()}
    started = time.monotonic()
    again = up(lambda _: None)
    assert time.monotonic() - started < 2
    assert {name: item.server.pid for name, item in again.components.items()} == before


@pytest.mark.cluster
def test_up_takes_what_was_built_anew(bed: Bed) -> None:
    """`up` on a running bed loads a newly built application, so new pods run it."""
    old = dataclasses.replace(bed.state, binaries={**bed.state.binaries, "app": "/an/older/app"})
    old.save(bed.layout)
    assert up(print).state == bed.state


@pytest.mark.cluster
def test_pod_answers_through_kubectl(forwarded: int, app_pod: str) -> None:
    """`kubectl port-forward` reaches the app's pod, which answers with its name."""
    code, body = get(forwarded, "/")
    assert code == 200
    assert f"pod {app_pod}".encode() in body


@pytest.mark.cluster
def test_up_repairs_a_half_dead_bed(bed: Bed, app_pod: str) -> None:
    """`up` restarts killed and frozen servers; running pods stay."""
    bed.components["scheduler"].server.stop(0)
    bed.stop("kubelet")
    bed.pause("registry")
    up(lambda _: None)
    assert all(item.ready() for item in bed.components.values())
    assert bed.kubectl("get", "pod", app_pod, "-o", "jsonpath={.status.containerStatuses[0].restartCount}") == "0"
    assert "http on port" in bed.kubectl("logs", app_pod)


@pytest.mark.cluster
def test_paused_apiserver_answers_nothing_until_resumed(bed: Bed) -> None:
    """A paused component keeps its process and answers nothing; when resumed, it continues."""
    bed.pause("apiserver")
    try:
        assert not node_ready(bed.layout, bed.state)
    finally:
        bed.resume("apiserver")
    assert holds(lambda: node_ready(bed.layout, bed.state), 10)


@pytest.mark.cluster
def test_env_is_for_a_shell(bed: Bed) -> None:
    """What `env` prints makes kubectl in a plain shell talk to this bed."""
    script = f'eval "$({COMMAND} env)" && kubectl get nodes -o name && kubectl create token default >/dev/null'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "node/localhost"), done.stderr


def test_missing_precondition_exits_3(tmp_path: Path) -> None:
    """If the machine lacks something, `up` names it in one line and exits 3."""
    bare = {"PATH": str(tmp_path), "HOME": str(tmp_path), "PORTSIDE_TESTBED_DIR": str(tmp_path / "state")}
    done = subprocess.run([sys.executable, str(COMMAND), "up"], env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert re.fullmatch(r"testbed: the test bed needs (Linux|root|Go)[^\n]*\n", done.stderr)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gets as far as to the folder")
def test_foreign_state_folder_is_left_alone(tmp_path: Path) -> None:
    """A state folder with other files is refused, and `down` does not remove it."""
    (tmp_path / "thesis.txt").write_text("years of work")
    reason = missing(Layout(tmp_path, tmp_path))
    assert reason is not None
    subprocess.run(
        [sys.executable, str(COMMAND), "down"], env=os.environ | {"PORTSIDE_TESTBED_DIR": str(tmp_path)}, check=True
    )
    assert (tmp_path / "thesis.txt").exists()


def test_no_bed_is_status_3(tmp_path: Path) -> None:
    """Without a running bed, `status` and `env` print how to start one and exit 3."""
    nowhere = os.environ | {"PORTSIDE_TESTBED_DIR": str(tmp_path / "none")}
    for word in ("status", "env"):
        command = [sys.executable, str(COMMAND), word]
        done = subprocess.run(command, env=nowhere, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (3, "")
        assert "scripts/cluster up" in done.stderr
