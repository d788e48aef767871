"""What the causes share: a kubeconfig through a proxy, blocking work, a check of the cluster's health.

`scene.py` has the assertions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio
import yaml

from fixtures.cluster.bed import Bed
from fixtures.cluster.errors import BrokenError
from fixtures.cluster.processes import wait_for

T = TypeVar("T")

# Seconds from an answering server until all pods are Ready and reachable, on a busy machine.
PATIENCE = 120.0


async def in_thread(work: Callable[..., T], *arguments: object) -> T:
    """Blocking work in a thread, always awaited: half done it would harm later tests."""
    return await trio.to_thread.run_sync(partial(work, *arguments))


def kubeconfig(bed: Bed, path: Path, port: int | None = None, user: Mapping[str, Any] | None = None) -> Path:
    """Writes atomically the bed's kubeconfig with the API server at `port` of 127.0.0.1 and with another user."""
    content = yaml.safe_load(bed.kubeconfig.read_text())
    if port is not None:
        content["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    if user is not None:
        content["users"][0]["user"] = dict(user)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content))
    fresh.chmod(0o600)
    fresh.replace(path)
    return path


def api_server(bed: Bed) -> tuple[str, int]:
    return "127.0.0.1", bed.state.ports["apiserver"]


def reachable(bed: Bed, space: str) -> None:
    """Returns when every pod is Ready and kubectl reaches a process in one: through API server, kubelet and runtime."""

    def well() -> bool:
        try:
            bed.kubectl("-n", space, "wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s", timeout=90)
            bed.kubectl("-n", space, "exec", "deploy/a", "--", "/app", "probe", timeout=20)
        except BrokenError:
            return False
        return True

    wait_for("reach the pods again", well, PATIENCE)
