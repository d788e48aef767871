"""A second bed of the same kind beside the one of the tests: it comes up, works, and leaves nothing."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.cluster import leftovers, lifecycle
from fixtures.cluster.bed import Bed, healthy, status
from fixtures.cluster.images import APP
from fixtures.cluster.layout import Layout

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.every_bed("the bed: comes up beside another, repairs itself, leaves nothing"),
]

POD = "short"
# Folders of the machine that kubelets and container runtimes write to, whatever their settings are.
SHARED = (
    *("/var/log/pods", "/var/log/containers", "/var/lib/kubelet", "/var/lib/dockershim", "/var/lib/cni"),
    *("/run/containerd", "/run/docker", "/var/run/nri", "/run/netns"),
)


@pytest.fixture
def beside(bed: Bed) -> Iterator[Layout]:
    """The folder of a second bed. It is short, since a socket's path has at most 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="bed-") as folder:
        layout = Layout(Path(folder) / "state", bed.layout.cache, bed.layout.bed)
        yield layout
        lifecycle.down(print, layout)


def test_a_second_bed_leaves_nothing(bed: Bed, beside: Layout) -> None:
    """Both are healthy at once. After `down` nothing of the second is left: process, mount, cgroup, rule or file."""
    rules = firewall()
    second = lifecycle.up(print, beside)
    run_a_pod(second)
    assert healthy(second)
    assert healthy(bed), status(bed)
    second.kill("kubelet")  # now `down` must clean up what the server would have
    seen = ours(beside)
    assert seen
    lifecycle.down(print, beside)
    assert not ours(beside)
    assert not beside.state.exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{beside.instance}"))
    assert firewall() == rules
    assert healthy(bed), status(bed)


def run_a_pod(second: Bed) -> None:
    container = {"name": "app", "image": APP, "imagePullPolicy": "Never"}
    spec = {"containers": [container], "automountServiceAccountToken": False}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD}, "spec": spec}
    file = second.layout.state / "pod.json"
    file.write_text(json.dumps(manifest))
    second.kubectl("apply", "-f", str(file))
    second.kubectl("wait", "--for=condition=Ready", f"pod/{POD}", "--timeout=60s", timeout=90)


def ours(layout: Layout) -> list[str]:
    """Everything that names the bed's folder or instance: processes, mounts, and files in shared places."""
    folder, name = str(layout.state), layout.instance
    found = [f"mount {point}" for point in leftovers.mounts(layout)]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if folder in words:
            found.append(f"process {words}")
    for path in (path for shared in SHARED for path in Path(shared).glob("**/*")):
        target = str(path.readlink()) if path.is_symlink() else ""
        if folder in target or name in path.name or POD in path.name:
            found.append(f"file {path}")
    return found


def firewall() -> str:
    """The rules, without counters and times."""
    done = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True)
    return "\n".join(line.partition("[")[0] for line in done.stdout.splitlines() if not line.startswith("#"))
