"""What the tests of the commands share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.pods import Port
from fixtures.embedded.skaffold_api import Recording
from fixtures.embedded.web import web
from tests.cli.made import NAMESPACE, Place, closed_port, kubeconfig


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder whose kubeconfig names an API server that does not run."""
    place = Place(tmp_path)
    place.environment["KUBECONFIG"] = place.write("kubeconfig", kubeconfig(closed_port()))
    return place


@pytest.fixture
async def cluster(place: Place) -> AsyncIterator[EmbeddedCluster]:
    """An embedded cluster with a deployment and a service `web` of the recorded run; the kubeconfig points to it."""
    labels = {"skaffold.dev/run-id": Recording.load("handle-post").run_id}
    async with EmbeddedCluster.open() as cluster:
        await cluster.deployment("web", [Port(8080, web("hello"), "http")], namespace=NAMESPACE, labels=labels)
        cluster.service("web", {"app": "web"}, [{"port": 8080}], namespace=NAMESPACE, labels=labels)
        path = place.folder / "embedded"
        place.environment["KUBECONFIG"] = str(cluster.kubeconfig(path, namespace=NAMESPACE))
        yield cluster
