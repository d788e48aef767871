"""`portside watch --cluster` without a running Skaffold: it finds objects by Skaffold's labels."""

from __future__ import annotations

import pytest

from fixtures.cluster.bed import Bed
from tests.skaffold_e2e.developing import text_at
from tests.support.process import portside
from tests.support.skaffold import Project, skaffold

pytestmark = pytest.mark.skaffold


async def test_what_was_deployed_is_found_by_its_labels(bed: Bed, project: Project) -> None:
    """By the label of any run, of this run, or by another selector; another run's id finds nothing."""
    async with skaffold(project, "run", "--tail=false") as running:
        assert await running.process.wait() == 0, running.output
    environment, place = project.environment, ("-n", project.namespace)
    run_id = label(bed, project)
    words = ("watch", "--cluster", "--port-forward=services,pods", *place)
    async with portside(*words, environment=environment, folder=project.folder) as watching:
        web = await watching.ready("web", 60, namespace=project.namespace)
        pods = await watching.ready("app", 60, namespace=project.namespace, source="pods")
        for record in (web, pods):
            assert (await text_at(record)).startswith(f"hello from {project.namespace}, version 1")
    for more in (("--run-id", run_id), ("-l", f"skaffold.dev/run-id={run_id}")):
        async with portside(*words, *more, environment=environment, folder=project.folder) as watching:
            await watching.ready("web", 60, namespace=project.namespace)
            assert {record["namespace"] for record in watching.forwards} == {project.namespace}
    async with portside(
        "watch", "--cluster", *place, "--run-id", "nobody's", environment=environment, folder=project.folder
    ) as watching:
        await watching.ready("app", 60)  # the entry of skaffold.yaml needs no label
        assert [record["source"] for record in watching.forwards] == ["user"]


def label(bed: Bed, project: Project) -> str:
    """The run id of the project's service."""
    path = r"jsonpath={.metadata.labels.skaffold\.dev/run-id}"
    return bed.kubectl("-n", project.namespace, "get", "service", "web", "-o", path)
