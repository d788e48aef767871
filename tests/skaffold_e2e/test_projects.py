"""Projects of the kinds in Skaffold's documentation, under a real Skaffold: each forward answers."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from fixtures.cluster.bed import Bed
from tests.skaffold_e2e.developing import becomes, idle, text_at, watching
from tests.support.objects import namespace
from tests.support.process import Portside, portside
from tests.support.skaffold import Project, copied

pytestmark = pytest.mark.skaffold


@asynccontextmanager
async def under_portside(
    project: Project, *skaffold: str, modes: str = "", **environment: str
) -> AsyncIterator[Portside]:
    words = ["run", "-v", *([f"--port-forward={modes}"] if modes else []), "--", "skaffold", *skaffold]
    async with portside(
        *words, environment=project.environment | environment, folder=project.folder, session=True
    ) as running:
        yield running


async def ready(running: Portside, *wanted: Mapping[str, object]) -> list[int]:
    """The local ports of these forwards, when all are ready; there are no others."""
    ports = []
    for fields in wanted:
        given = dict(fields)
        record = await running.ready(str(given.pop("resourceName")), 90, **given)
        ports.append(record["localPort"])
    assert len(running.forwards) == len(wanted), running.forwards
    return ports


async def serves(running: Portside, name: str, text: str, **fields: object) -> None:
    record = running.last(name, **fields)
    assert record is not None
    await becomes(record, text)


async def test_microservices(bed: Bed, tmp_path: Path) -> None:
    """Entries by deployment and by service port name; an edit of a manifest does not change the ports."""
    with copied(bed, tmp_path, "microservices") as project:
        async with under_portside(project, "dev", "-n", project.namespace) as running:
            wanted = [{"resourceName": "frontend", "resourceType": "deployment"}, {"resourceName": "backend"}]
            before = await ready(running, *wanted)
            assert running.last("frontend", requestedPort=9080) is not None
            await serves(running, "frontend", "frontend, version 1")
            await serves(running, "backend", "backend, version 1", remotePort="http", resourceType="Service")
            await watching(running)
            project.edit("k8s.yaml", "backend, version 1", "backend, version 2")
            await idle(running, 2)
            assert await ready(running, *wanted) == before
            await serves(running, "backend", "backend, version 2")


@contextmanager
def _two_namespaces(bed: Bed, project: Project) -> Iterator[tuple[str, str]]:
    with namespace(bed, f"e2e-{secrets.token_hex(4)}") as other:
        project.edit("k8s.yaml", "SHOP", project.namespace)
        project.edit("backend/k8s.yaml", "BACKEND", other)
        yield project.namespace, other


async def test_several_configurations_and_namespaces(bed: Bed, tmp_path: Path) -> None:
    """Entries and services of both; a blank namespace is the run's namespace that has the object."""
    with copied(bed, tmp_path, "multi") as project, _two_namespaces(bed, project) as (shop, backend):
        async with under_portside(project, "dev", "--port-forward") as running:
            await ready(
                running,
                {"resourceName": "frontend", "source": "user", "namespace": shop},
                {"resourceName": "frontend", "source": "services", "namespace": shop},
                {"resourceName": "backend", "source": "user", "namespace": backend},
                {"resourceName": "backend", "source": "services", "namespace": backend},
            )
            for name in ("frontend", "backend"):
                for source in ("user", "services"):
                    await serves(running, name, f"{name}, version 1", source=source)


async def test_profiles(bed: Bed, tmp_path: Path) -> None:
    """A profile's patch that `dev` activates; another profile that replaces the list, with a template."""
    with copied(bed, tmp_path, "profiles") as project:
        words = ("dev", "-n", project.namespace)
        async with under_portside(project, *words) as running:
            await ready(running, {"resourceName": "app", "remotePort": "http"})
            await serves(running, "app", "app, version 1")
        async with under_portside(project, *words, "-p", "extra,-in-dev", PROFILES_SERVICE="app") as running:
            await ready(running, {"resourceName": "app", "resourceType": "service", "remotePort": 8080})
            await serves(running, "app", "app, version 1")


async def test_kustomize(bed: Bed, tmp_path: Path) -> None:
    """The objects of an overlay."""
    with copied(bed, tmp_path, "kustomize") as project:
        async with under_portside(project, "dev", "--port-forward", "-n", project.namespace) as running:
            await ready(
                running,
                {"resourceName": "dev-app", "source": "user"},
                {"resourceName": "dev-app", "source": "services"},
            )
            await serves(running, "dev-app", "app, version 1", source="services")


async def test_jobs_and_cronjobs(bed: Bed, tmp_path: Path) -> None:
    """A job's pod; a cronjob's pod when it has a job, then the newer job's."""
    with copied(bed, tmp_path, "jobs") as project:
        async with under_portside(project, "dev", "-n", project.namespace) as running:
            await running.ready("migration", 90)
            await serves(running, "migration", "migration, version 1")
            await running.wait_for(lambda _: (running.last("report") or {}).get("reason", "").endswith("a job yet"), 60)
            for name in ("first", "second"):
                bed.kubectl("-n", project.namespace, "create", "job", name, "--from=cronjob/report")
                await running.wait_for(partial(_served_by, running, "report", name), 60)
                await serves(running, "report", "report, version 1")


def _served_by(running: Portside, name: str, pod: str, _: object) -> bool:
    record = running.last(name) or {}
    return record.get("state") == "ready" and record["pod"].startswith(f"{pod}-")


async def test_a_statefulset(bed: Bed, tmp_path: Path) -> None:
    """The set, its headless service, and each pod by name; a recreated pod keeps its port."""
    with copied(bed, tmp_path, "statefulset") as project:
        async with under_portside(project, "dev", "--port-forward", "-n", project.namespace) as running:
            pods = [{"resourceName": name, "resourceType": "pod"} for name in ("db-0", "db-1")]
            before = await ready(
                running, {"resourceName": "db", "source": "user"}, {"resourceName": "db", "source": "services"}, *pods
            )
            for name in ("db-0", "db-1"):
                assert f"pod {name}\n" in await text_at(running.last(name) or {})
            bed.kubectl("-n", project.namespace, "delete", "pod", "db-1", "--wait=true", timeout=60)
            record = await running.ready("db-1", 60)
            assert record["localPort"] == before[-1]
            assert "pod db-1\n" in await text_at(record)


async def test_debugging_a_jvm(bed: Bed, tmp_path: Path) -> None:
    """`skaffold debug` forwards entries and debug ports; a debugger's connection stays with its pod."""
    with copied(bed, tmp_path, "debug") as project:
        (project.folder / "content.txt").write_text(f"{project.namespace}\n")
        async with under_portside(project, "debug", "-n", project.namespace) as running:
            _, port = await ready(
                running,
                {"resourceName": "app", "source": "user", "remotePort": "http"},
                {"resourceName": "app", "source": "debug", "container": "app", "remotePort": 5005},
            )
            debugger = await trio.open_tcp_stream("127.0.0.1", port)
            async with debugger:
                await _greets(debugger)
                # Another pod of the same: new connections go there, this one stays where it is.
                bed.kubectl("-n", project.namespace, "scale", "deployment/app", "--replicas=2")
                bed.kubectl("-n", project.namespace, "rollout", "status", "deployment/app", timeout=60)
                await _greets(debugger)


async def _greets(stream: trio.SocketStream) -> None:
    """The handshake of JDWP returns the client's greeting."""
    with trio.fail_after(60):
        await stream.send_all(b"JDWP-Handshake")
        data = b""
        while len(data) < 14:
            more = await stream.receive_some()
            assert more, data
            data += more
    assert data == b"JDWP-Handshake"
