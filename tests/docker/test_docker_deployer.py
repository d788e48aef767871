"""Skaffold's Docker deployer and a real engine: what Docker publishes is shown, what it does not is forwarded."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fixtures.cluster.bed import Bed
from fixtures.docker.engine import Engine
from tests.skaffold_e2e.developing import becomes, idle, text_at, watching
from tests.support.probe import probing
from tests.support.process import Portside, portside
from tests.support.skaffold import Project, copied, skaffold
from tests.support.sockets import free_port

pytestmark = pytest.mark.skaffold


@pytest.fixture
def project(bed: Bed, docker: Engine, tmp_path: Path) -> Iterator[Project]:
    with copied(bed, tmp_path, "docker") as copy:
        environment = {**copy.environment, **docker.environment}
        del environment["KUBECONFIG"]  # nothing of Kubernetes is asked for
        project = Project(copy.folder, copy.namespace, environment)
    project.save("myapp, version 1 of " + copy.namespace)
    for old in ("9701", "9751"):
        for file in ("skaffold.yaml", "portside.yaml"):
            text = (project.folder / file).read_text()
            (project.folder / file).write_text(text.replace(old, str(free_port())))
    yield project
    docker.clear()  # a Skaffold that was killed leaves what it started


def asked_port(project: Project) -> int:
    """The localPort of skaffold.yaml's entry."""
    [found] = re.findall(r"localPort: (\d+)", (project.folder / "skaffold.yaml").read_text())
    return int(found)


def told(running: Portside) -> list[tuple[str, int]]:
    """What was said of the port that Docker publishes, word by word."""
    return [(r["state"], r["localPort"]) for r in running.records if r["kind"] == "forward" and r["source"] == "user"]


def assert_calm(running: Portside, port: int, redeploys: int) -> None:
    """At most that it went and came back, each time."""
    words = told(running)
    assert set(words) <= {("ready", port), ("stopped", port)}
    assert len(words) <= 1 + 2 * redeploys


def published_port(docker: Engine) -> int:
    return int(docker.docker("port", "myapp", "8080/tcp").split()[0].rpartition(":")[2])


@asynccontextmanager
async def developing(project: Project, *words: str) -> AsyncIterator[Portside]:
    command = ("run", "-v", "--", "skaffold", *(words or ("dev",)))
    async with portside(*command, environment=project.environment, folder=project.folder, session=True) as running:
        yield running


async def test_published_and_forwarded(project: Project, docker: Engine) -> None:
    """Docker's own port as it is, a second one by us, an entry for a service passed over with one word.

    A redeploy brings new bytes at the same ports, and not one connection through ours fails.
    """
    async with developing(project) as running:
        published = await running.ready("myapp", 90, source="user")
        forwarded = await running.ready("myapp", 60, source="direct")
        assert published["reason"] == "published by Docker itself"
        assert published["localPort"] == published_port(docker) == asked_port(project)
        assert forwarded["localPort"] == forwarded["requestedPort"] != published["localPort"]
        for record in (published, forwarded):
            assert (await text_at(record)).startswith("myapp, version 1")
        skips = [record["reason"] for record in running.records if record["kind"] == "skip"]
        assert skips == ["the Docker deployer has only containers; it ignores service/web"]
        assert {record["source"] for record in running.records if record["kind"] == "forward"} == {"user", "direct"}
        await watching(running)

        async with probing(forwarded["localPort"]) as probe:
            await probe.good(10)
            project.save("myapp, version 2 of " + project.namespace)
            await idle(running, 2)
            await probe.good(10)
        assert not probe.failures, probe.counts
        for source, before in (("user", published), ("direct", forwarded)):
            after = await running.ready("myapp", 60, source=source)
            assert after["localPort"] == before["localPort"]
            await becomes(after, "myapp, version 2")
        assert published_port(docker) == asked_port(project)
        assert_calm(running, asked_port(project), redeploys=1)


async def test_docker_keeps_its_port_beside_watch(project: Project, docker: Engine) -> None:
    """Started after Skaffold, portside leaves the port alone through redeploys, while the container is away too."""
    port, api = asked_port(project), free_port()
    async with skaffold(project, "dev", f"--rpc-http-port={api}") as beside:
        await beside.idle()
        words = ("watch", "-v", "--skaffold", str(api))
        async with portside(*words, environment=project.environment, folder=project.folder) as running:
            await running.ready("myapp", 60, source="user")
            for loop in (2, 3):
                project.save(f"myapp, version {loop} of {project.namespace}")
                await beside.idle(loop)
                assert published_port(docker) == port
                record = await running.ready("myapp", 60, source="user")
                await becomes(record, f"myapp, version {loop}")
            assert_calm(running, port, redeploys=2)
            assert await running.end() == 0


async def test_a_renamed_container_is_found(project: Project, docker: Engine) -> None:
    """Where `myapp` is there already, Skaffold makes `myapp-1`: it is that one that counts."""
    app = Path(project.environment["PORTSIDE_TESTBED_APP"])
    tag = f"elsewhere/{secrets.token_hex(4)}:1"
    docker.load(tag, app, b"another one")
    docker.docker("run", "--detach", "--network=none", "--name=myapp", tag)
    try:
        async with developing(project) as running:
            record = await running.ready("myapp", 90, source="user")
            assert "8080" in docker.docker("port", "myapp-1")
            assert (await text_at(record)).startswith("myapp, version 1")
    finally:
        docker.docker("rm", "--force", "myapp")
