"""`forward` and `watch` typed into a real terminal, with the real cluster and Skaffold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trio

from fixtures.cluster.bed import Bed
from tests.support.objects import apply, deployment, namespace, rolled_out, service
from tests.support.process import PORTSIDE
from tests.support.skaffold import Project, hello, skaffold
from tests.support.sockets import free_port
from tests.support.tmux import Terminal, terminal


@pytest.fixture
def project(bed: Bed, tmp_path: Path) -> Iterator[Project]:
    with hello(bed, tmp_path) as project:
        yield project


def row(screen: list[str], name: str) -> str:
    return next((line for line in reversed(screen) if line.startswith(name)), "")


async def text(address: str) -> str:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return (await client.get(address)).text


def with_portside(environment: dict[str, str]) -> dict[str, str]:
    return environment | {"PATH": f"{Path(PORTSIDE).parent}:{environment['PATH']}"}


async def led(term: Terminal, name: str) -> str:
    """The address of a forward, as soon as the table shows it as ready."""
    line = row(await term.shows(lambda screen: " ready " in row(screen, name), timeout=120), name)
    return next(word for word in line.split() if word.startswith("http://"))


@pytest.mark.cluster
async def test_forward(bed: Bed, tmp_path: Path) -> None:
    """A forward becomes ready, serves, survives its pod, and Ctrl-C leaves a clean terminal."""
    with namespace(bed, "terminal"):
        apply(bed, "terminal", deployment("web"), service("web"))
        rolled_out(bed, "terminal", "web")
        environment = with_portside(bed.environment())
        async with terminal(environment, tmp_path, width=140) as term:
            await term.command("portside", "forward", "-n", "terminal", "svc/web", ":8080")
            address = await led(term, "svc/web:8080")
            assert await text(address)
            await term.shows(lambda screen: "/1 " in row(screen, "svc/web:8080"))
            await trio.to_thread.run_sync(bed.kubectl, "-n", "terminal", "scale", "deployment/web", "--replicas=0")
            await term.shows(lambda screen: " listening " in row(screen, "svc/web:8080"))
            await trio.to_thread.run_sync(bed.kubectl, "-n", "terminal", "scale", "deployment/web", "--replicas=1")
            assert await led(term, "svc/web:8080") == address
            await term.press("C-c")
            assert " stopped " in row(await term.prompts(), "svc/web:8080")


@pytest.mark.skaffold
async def test_watch(project: Project) -> None:
    """The table shows Skaffold's phases; an edit is deployed, and the address stays."""
    port = free_port()
    environment = with_portside(project.environment)
    async with terminal(environment, project.folder, width=140) as term:
        await term.command("portside", "watch", "--skaffold", str(port), "-n", project.namespace)
        await term.says(f"portside: no Skaffold answers at http://127.0.0.1:{port}; waiting for one")
        async with skaffold(project, "dev", "--port-forward=off", f"--rpc-http-port={port}"):
            address = await led(term, "svc/web:8080")
            await term.says("Skaffold: idle, iteration 1")
            assert "version 1" in await text(address)
            project.save(f"hello from {project.namespace}, version 2")
            await term.says("Skaffold: idle, iteration 2")
            assert await led(term, "svc/web:8080") == address
            assert "version 2" in await text(address)
        await term.says("; forwards stay, waiting for it")
        await term.press("C-c")
        await term.prompts()
