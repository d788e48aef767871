"""A whole portside in this process, beside a Skaffold and a cluster of our own: what is broken in it can be chosen."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.deployment import Deployment
from fixtures.embedded.pods import Port
from fixtures.embedded.skaffold_api import Recording, SkaffoldApi
from fixtures.embedded.web import web
from forwarders import tasks
from tests.support.probe import get
from watcher.cli.collected import Options, collect
from watcher.cli.facts_from_options import ConfiguredFacts, project_of
from watcher.cli.forwarding_commands import watch_command
from watcher.cli.skaffold_source import SkaffoldSource
from watcher.cluster import cluster_config

NAMESPACE = "parity"  # the recorded run's
PORTS = [{"port": 8080, "targetPort": "http"}]
HEAD = "apiVersion: portside/v1\n"
PATIENCE = 60.0
Condition = Callable[[], bool | Awaitable[bool]]


class Ship:
    """Forwards to two services, `calm` and `other`, with every output there is."""

    def __init__(self, cluster: EmbeddedCluster, skaffold: SkaffoldApi, source: SkaffoldSource, folder: Path) -> None:
        self.cluster = cluster
        self.skaffold = skaffold
        self.source = source
        self.folder = folder
        self.labels = {"skaffold.dev/run-id": Recording.load("handle-post").run_id}
        self.rest = Recording.load("handle-post").split("DevLoop", "Succeeded")[1]
        self.deployments: dict[str, Deployment] = {}
        self._edits = 0

    async def deploy(self, name: str) -> None:
        self.deployments[name] = await self.cluster.deployment(
            name, [Port(8080, web(name), "http")], namespace=NAMESPACE, labels=self.labels
        )
        self.cluster.service(name, {"app": name}, PORTS, namespace=NAMESPACE, labels=self.labels)

    def port(self, name: str) -> int:
        """Of a forward that is ready, else 0."""
        for record in self.source.runtime.board.forwards.values():
            if record.resource_name == name and record.state == "ready":
                return record.local_port
        return 0

    async def answers(self, name: str) -> bool:
        """Whether a new connection to this forward is answered."""
        try:
            with trio.move_on_after(15):
                return bool(self.port(name)) and (await get(self.port(name)))[0] == 200
        except (OSError, EOFError, trio.BrokenResourceError):
            pass
        return False

    async def asks(self, url: str, host: str = "", within: float = 15.0) -> int:
        """The status of an answer, 0 for none."""
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=within) as client:
                return (await client.get(url, headers={"Host": host} if host else {})).status_code
        except httpx.HTTPError:
            return 0

    @property
    def status(self) -> str:
        socket = self.source.runtime._status
        assert socket is not None
        return f"http://127.0.0.1:{socket._socket.getsockname()[1]}"

    @property
    def gateway(self) -> str:
        request = self.source.runtime._gateway
        assert request is not None
        return f"http://127.0.0.1:{request._request.port}"

    def edit(self) -> None:
        """portside.yaml says something else."""
        self._edits += 1
        text = f"{HEAD}forwards:\n- {{resourceType: service, resourceName: other, port: {9000 + self._edits}}}\n"
        (self.folder / "portside.yaml").write_text(text)

    async def soon(self, condition: Condition, within: float = 15.0) -> bool:
        """Whether it comes to hold; asked again and again, since it is asked from outside."""
        with trio.move_on_after(within):
            while True:
                found = condition()
                if found if isinstance(found, bool) else await found:
                    return True
                await trio.sleep(0.02)
        return False

    async def until(self, condition: Condition, what: str) -> None:
        assert await self.soon(condition, PATIENCE), f"not within {PATIENCE:.0f} s: {what}"


def options_of(*words: str) -> tuple[Options, str]:
    """As the command line of `portside watch` gives them, and the event API's URL."""
    names = set(Options.__struct_fields__)
    with watch_command.make_context("watch", list(words)) as context:
        given = context.params
        return collect({**{name: given[name] for name in names & given.keys()}, "namespace": ""}), given["url"]


@contextlib.asynccontextmanager
async def sailing(folder: Path, monkeypatch: pytest.MonkeyPatch, free_port: int) -> AsyncIterator[Ship]:
    """It runs, and both forwards are ready. Restarts are quick."""
    monkeypatch.setattr(tasks, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(tasks, "LAST_PAUSE", 0.05)
    monkeypatch.setattr(cluster_config, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(cluster_config, "LAST_PAUSE", 0.05)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
    monkeypatch.setenv("HOME", str(folder))
    (folder / "run").mkdir(mode=0o700)
    (folder / "portside.yaml").write_text(HEAD)
    recording, _ = Recording.load("handle-post").split("DevLoop", "Succeeded")
    async with EmbeddedCluster.open() as cluster, SkaffoldApi.open(recording) as skaffold:
        config = cluster.kubeconfig(folder / "config", namespace=NAMESPACE)
        words = ("--port-forward=user,services", f"--kubeconfig={config}", "--output=json", "--env-file=env")
        options, url = options_of(f"--skaffold={skaffold.url}", f"--gateway={free_port}", *words)
        configured = await ConfiguredFacts.load(options, "watch", project_of(options, "dev"), {})
        source = await SkaffoldSource.prepare("watch", options, url, configured)
        ship = Ship(cluster, skaffold, source, folder)
        for name in ("calm", "other"):
            await ship.deploy(name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(source.run)
            for name in ("calm", "other"):
                await ship.until(partial(ship.answers, name), f"{name} is forwarded")
            yield ship
            nursery.cancel_scope.cancel()
