"""Owns what causes share: a kubeconfig through a proxy, blocking work beside the traffic, when a cluster is well again.

Refuses to know what is asserted (`scene.py`).
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

# From a server that answers to pods that are Ready and can be reached, on a busy machine.
PATIENCE = 120.0


async def in_thread(work: Callable[..., T], *arguments: object) -> T:
    """Blocking work; it is waited for, whatever happens: half done it would harm the tests after this one."""
    return await trio.to_thread.run_sync(partial(work, *arguments))


def kubeconfig(bed: Bed, path: Path, port: int | None = None, user: Mapping[str, Any] | None = None) -> Path:
    """Writes, in one step, the bed's kubeconfig with the API server at `port` of 127.0.0.1 and with another user."""
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
    """Returns once every pod is Ready and kubectl reaches a process in one: through apiserver, kubelet and runtime."""

    def well() -> bool:
        try:
            bed.kubectl("-n", space, "wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s", timeout=90)
            bed.kubectl("-n", space, "exec", "deploy/a", "--", "/app", "probe", timeout=20)
        except BrokenError:
            return False
        return True

    wait_for("reach the pods again", well, PATIENCE)
