"""The program and its kubeconfig: rewritten while it runs, as minikube, kind and k3d do, and by hand."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.access import EVERYTHING
from fixtures.embedded.pods import Port
from fixtures.embedded.web import web
from tests.support import pages
from tests.support.process import Portside, portside

PATIENCE = 60.0


@asynccontextmanager
async def serving(content: str) -> AsyncIterator[EmbeddedCluster]:
    """A cluster of its own: another address, another authority, other credentials."""
    async with EmbeddedCluster.open() as cluster:
        await cluster.deployment("web", [Port(8080, web(content), "http")])
        yield cluster


@asynccontextmanager
async def forwarding(config: Path) -> AsyncIterator[tuple[Portside, int]]:
    async with portside("forward", f"--kubeconfig={config}", "deployment/web", ":8080") as program:
        record = await program.ready("web")
        yield program, record["localPort"]


async def answers(port: int, content: str) -> None:
    """Returns once new connections are answered so; until then they are answered as before, or wait.

    One that is open when its server stops may have reached the pod: it is rightly reset, not sent again.
    """
    found = ""
    with trio.fail_after(PATIENCE):
        while found != content:
            await trio.sleep(0.1)
            with suppress(trio.BrokenResourceError):
                found = await pages.page(port, PATIENCE)


def replaced(cluster: EmbeddedCluster, config: Path) -> None:
    """As most tools write it: a new file that takes the old one's name."""
    cluster.kubeconfig(config.with_suffix(".new"))
    os.replace(config.with_suffix(".new"), config)


async def test_another_cluster_behind_the_same_context(tmp_path: Path) -> None:
    """New address, authority and certificate at once: the local port stays and leads there."""
    config = tmp_path / "config"
    async with serving("one") as one, serving("two") as two:
        one.kubeconfig(config)
        async with forwarding(config) as (program, port):
            assert await pages.page(port, PATIENCE) == "one"
            replaced(two, config)
            await program.says(f'the kubeconfig was edited: context "embedded" is now at {two.url}')
            await answers(port, "two")
            one.kubeconfig(config)  # written in place
            await answers(port, "one")
            assert program.last("web", localPort=port) is not None


async def test_a_cluster_that_went_away_and_came_back_elsewhere(tmp_path: Path) -> None:
    """The old server is gone first, as when minikube stops; the local port stays open meanwhile."""
    config = tmp_path / "config"
    async with serving("two") as two, serving("one") as one:
        one.kubeconfig(config)
        async with forwarding(config) as (_, port):
            await one.stop_server()
            replaced(two, config)
            await answers(port, "two")


async def test_a_link_that_is_turned_and_a_broken_edit(tmp_path: Path) -> None:
    """The target of a link is watched; a file that cannot be read is one warning, and forwarding continues."""
    config = tmp_path / "config"
    async with serving("one") as one, serving("two") as two:
        one.kubeconfig(tmp_path / "one")
        two.kubeconfig(tmp_path / "two")
        config.symlink_to("one")
        async with forwarding(config) as (program, port):
            os.replace(_link(tmp_path, "two"), config)
            await answers(port, "two")
            _write_at_once(tmp_path / "two", "clusters: [")
            await program.says("not valid YAML; keeping the previous settings")
            _write_at_once(tmp_path / "two", "clusters: [ ")
            os.replace(_link(tmp_path, "one"), config)
            await answers(port, "one")
            assert program.stderr.count("keeping the previous settings") == 1


def _write_at_once(path: Path, text: str) -> None:
    """No reader sees the file empty."""
    path.with_name("new").write_text(text)
    os.replace(path.with_name("new"), path)


def _link(folder: Path, target: str) -> Path:
    link = folder / "link"
    link.symlink_to(target)
    return link


async def test_other_credentials_in_the_file_are_used_at_once(tmp_path: Path) -> None:
    """A token that is revoked and replaced: the session to the next pod is opened with the new one."""
    config = tmp_path / "config"
    async with EmbeddedCluster.open() as cluster:
        deployment = await cluster.deployment("web", [Port(8080, web("one"), "http")])
        first, second = (cluster.access.grant(user, EVERYTHING) for user in ("ann", "bea"))
        cluster.kubeconfig(config, first)
        async with forwarding(config) as (program, port):
            assert await pages.page(port, PATIENCE) == "one"
            cluster.kubeconfig(config, second)
            cluster.access.revoke(first)
            await deployment.rollout([Port(8080, web("two"), "http")])
            await answers(port, "two")
            assert first not in program.stderr + json.dumps(program.records)


async def test_another_context_is_no_business_of_ours(tmp_path: Path) -> None:
    """`kubectl config use-context` in another terminal moves no forward."""
    config = tmp_path / "config"
    async with serving("one") as one:
        content = json.loads(one.kubeconfig(config).read_text())
        content["contexts"].append({"name": "other", "context": {"cluster": "embedded", "user": "user"}})
        async with forwarding(config) as (program, port):
            config.write_text(json.dumps(content | {"current-context": "other"}))
            assert await pages.page(port, PATIENCE) == "one"
            assert "was edited" not in program.stderr
