"""Creates the Kubernetes objects that tests forward to: the fixtures' app with a Deployment and a Service."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fixtures.cluster.bed import Bed
from fixtures.cluster.images import APP

Manifest = dict[str, Any]


def app_container(**environment: str) -> Manifest:
    """The app; keyword arguments become its environment (fixtures/app/main.go)."""
    return {
        "name": "app",
        "image": APP,
        "imagePullPolicy": "Never",
        "ports": [{"name": "http", "containerPort": 8080}],
        "env": [{"name": name, "value": value} for name, value in environment.items()],
    }


def deployment(
    name: str, *, replicas: int = 1, probe: bool = True, labels: Mapping[str, str] = {}, **env: str
) -> Manifest:
    container = app_container(**env)
    if probe:
        container["readinessProbe"] = {"exec": {"command": ["/app", "probe"]}, "periodSeconds": 1}
    pod = {"containers": [container], "automountServiceAccountToken": False}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name, **labels}}, "spec": pod},
        },
    }


def service(
    name: str, *, app: str = "", port: int = 8080, target: int | str = "http", labels: Mapping[str, str] = {}
) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {"selector": {"app": app or name}, "ports": [{"name": "http", "port": port, "targetPort": target}]},
    }


def apply(bed: Bed, namespace: str, *manifests: Manifest) -> None:
    """kubectl apply; waits for nothing."""
    kubectl = [str(bed.binary("kubectl")), "-n", namespace, "apply", "-f", "-"]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
    subprocess.run(kubectl, env=bed.environment(), input=text, text=True, check=True, capture_output=True, timeout=60)


def rolled_out(bed: Bed, namespace: str, *names: str) -> None:
    for name in names:
        bed.kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=60s", timeout=90)


@contextmanager
def namespace(bed: Bed, name: str) -> Iterator[str]:
    """A namespace for one test, deleted in the background afterwards."""
    bed.kubectl("delete", "namespace", name, "--ignore-not-found", timeout=120)
    bed.kubectl("create", "namespace", name)
    try:
        yield name
    finally:
        bed.kubectl("delete", "namespace", name, "--wait=false")
