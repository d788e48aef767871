"""Random steps beside a real Skaffold: after each step the forwards are those of a freshly started portside.

A failure names the seed and the steps; PORTSIDE_SEED chooses another seed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import trio

from fixtures.cluster.bed import Bed
from tests.skaffold_e2e.developing import developing, text_at, watching
from tests.support.probe import INTERVAL, Verdicts, probing
from tests.support.process import Record, portside
from tests.support.skaffold import Project
from tests.support.sockets import free_port

pytestmark = pytest.mark.skaffold

# Each kind of step once, or a hundred.
STEPS = pytest.mark.parametrize("steps", [8, pytest.param(100, marks=pytest.mark.long)])
LOOP = "Watching for changes..."
# A fresh start during a rollout may show the old pod; the next one does not.
ROLLOUTS = 3
# The forwards: a name for each, the resource's name, and its source.
USUAL = {"app": ("app", "user"), "web": ("web", "services"), "api": ("api", "services"), "extra": ("app", "direct")}
PODS = {"pods": ("app", "pods")}


class World:
    """The project as the last step left it, and the portside beside it, started with `words` (modes and namespace)."""

    def __init__(self, bed: Bed, project: Project, words: tuple[str, ...], api: int) -> None:
        self.bed = bed
        self.project = project
        self.words = words
        self.api = api
        self.expected = USUAL | (PODS if any("pods" in word for word in words) else {})
        self.manifest = (project.folder / "k8s.yaml").read_text()
        self.version = 1
        self.edits = 0
        self.asked = {"app": 9001, "extra": free_port()}
        self.write_portside_yaml()

    def write_portside_yaml(self) -> None:
        (self.project.folder / "portside.yaml").write_text(
            "apiVersion: portside/v1\nforwards:\n"
            f"  - {{resourceType: deployment, resourceName: app, port: 8080, localPort: {self.asked['extra']}}}\n"
        )

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        async with developing(self.project, rpc_http_port=self.api, words=self.words) as self.running:
            yield

    @property
    def text(self) -> str:
        return f"hello from {self.project.namespace}, version {self.version}"

    async def looped(self, change: Callable[[], object]) -> None:
        """Make a change and wait until Skaffold has run a dev loop for it."""
        loops = self.running.stderr.count(LOOP)
        change()
        await self.running.wait_for(lambda _: self.running.stderr.count(LOOP) > loops, 90)

    async def settled(self) -> dict[str, int]:
        """The forwards' local ports by name, once each is ready where it was asked for and says the text of now."""
        for name, (resource, source) in self.expected.items():
            asked = {"localPort": self.asked[name]} if name in self.asked else {}
            record = await self.running.ready(resource, 90, source=source, **asked)
            with trio.fail_after(60):
                while not (await text_at(record)).startswith(self.text):  # noqa: ASYNC110 - old pods may answer until they end
                    await trio.sleep(0.1)
        last = {name: self.running.last(of, source=source) or {} for name, (of, source) in self.expected.items()}
        return {name: record["localPort"] for name, record in last.items()}

    # Steps

    async def kill_pods(self) -> None:
        self.bed.kubectl("-n", self.project.namespace, "delete", "pod", "-l", "app=hello", "--wait=false")

    async def redeploy(self) -> None:
        self.version += 1
        await self.looped(lambda: self.project.save(self.text))

    async def edit_manifest(self) -> None:
        """Every object, since Skaffold applies only those that have changed."""
        self.edits += 1
        stamp = f'annotations: {{edit: "{self.edits}"}}'
        text = self.manifest.replace("metadata:\n  name:", f"metadata:\n  {stamp}\n  name:")
        text = text.replace("      labels:\n", f"      {stamp}\n      labels:\n")
        await self.looped(lambda: (self.project.folder / "k8s.yaml").write_text(text))

    async def edit_configuration(self) -> None:
        before, self.asked["app"] = self.asked["app"], free_port()
        change = ("skaffold.yaml", f"localPort: {before}", f"localPort: {self.asked['app']}")
        await self.looped(lambda: self.project.edit(*change))

    async def edit_portside_yaml(self) -> None:
        self.asked["extra"] = free_port()
        self.write_portside_yaml()

    async def fail_a_build(self) -> None:
        await self.looped(lambda: self.project.save(f"FAIL after version {self.version}"))
        await self.settled()  # what runs stays
        await self.redeploy()

    async def fail_a_deploy(self) -> None:
        good = "          image: hello\n"
        bad = f"{good}          env: nonsense\n"
        await self.looped(lambda: self.project.edit("k8s.yaml", good, bad))
        await self.settled()
        await self.looped(lambda: self.project.edit("k8s.yaml", bad, good))

    async def remake_namespace(self) -> None:
        self.bed.kubectl("delete", "namespace", self.project.namespace, timeout=120)
        self.bed.kubectl("create", "namespace", self.project.namespace)
        await self.edit_manifest()


def shown(records: list[Record]) -> set[tuple[object, ...]]:
    """The wanted forwards and their pods, without what depends on free ports."""
    fields = ("source", "resourceType", "resourceName", "namespace", "remotePort", "requestedPort", "state", "pod")
    return {tuple(record[field] for field in fields) for record in records}


async def fresh_start(world: World) -> set[tuple[object, ...]]:
    """The forwards of a portside that is started now, at other addresses."""
    project = world.project
    words = ("watch", "--skaffold", str(world.api), *world.words, "--address", "127.0.0.2", "--no-publish")
    async with portside(*words, environment=project.environment, folder=project.folder) as fresh:
        for resource, source in world.expected.values():
            await fresh.ready(resource, 60, source=source)
        found = shown(fresh.forwards)
        assert await fresh.end() == 0
    return found


async def as_after_a_fresh_start(world: World) -> None:
    for _ in range(ROLLOUTS):
        if await comes_to(world, fresh := await fresh_start(world)):
            return
    assert shown(world.running.forwards) == fresh


async def comes_to(world: World, fresh: set[tuple[object, ...]]) -> bool:
    """Whether the forwards become those of the fresh start."""
    with trio.move_on_after(20):
        await world.running.wait_for(lambda _: shown(world.running.forwards) == fresh)
        return True
    return False


def steps_of(world: World, count: int, random: Random) -> Sequence[Callable[[], Awaitable[None]]]:
    """Each kind once, in random order; then at random, slow ones seldom."""
    often = [world.kill_pods, world.redeploy, world.edit_manifest, world.edit_configuration, world.edit_portside_yaml]
    seldom = [world.fail_a_build, world.fail_a_deploy, world.remake_namespace]
    first = random.sample([*often, *seldom], k=len(often) + len(seldom))
    return [*first, *random.choices([*often, *often, *seldom], k=count)][:count]


@contextlib.asynccontextmanager
async def all_served(ports: dict[str, int]) -> AsyncIterator[None]:
    """Every connection to these ports is served during the block, and some after it."""
    async with contextlib.AsyncExitStack() as stack:
        probes: dict[str, Verdicts] = {}
        for name, port in ports.items():
            probes[name] = await stack.enter_async_context(probing(port, len(ports) * INTERVAL))
        yield
        for probe in probes.values():
            await probe.good(5)
    assert {name: probe.failures for name, probe in probes.items() if probe.failures} == {}


@contextlib.asynccontextmanager
async def none_refused(port: int) -> AsyncIterator[None]:
    """No pod may serve for longer than a connection waits, but the port always accepts."""
    async with probing(port) as probe:
        yield
        await probe.good(5)
    assert "ConnectionRefusedError" not in probe.failures


def in_context(project: Project, bed: Bed) -> Project:
    """The same with the namespace in the kubeconfig's context."""
    kubeconfig = project.folder.parent / "kubeconfig"
    kubeconfig.write_text(Path(project.environment["KUBECONFIG"]).read_text())
    bed.kubectl("--kubeconfig", str(kubeconfig), "config", "set-context", "--current", "--namespace", project.namespace)
    return replace(project, environment=project.environment | {"KUBECONFIG": str(kubeconfig)})


@STEPS
@pytest.mark.parametrize("place", ["namespace", "context"])
async def test_after_any_steps_all_is_as_after_a_fresh_start(
    bed: Bed, project: Project, steps: int, place: str
) -> None:
    """Ports moved only where another port was requested, and no connection was refused that could be served."""
    seed = int(os.environ.get("PORTSIDE_SEED") or Random().randrange(1_000_000))
    random, done = Random(seed), [f"seed {seed}"]
    project.edit("skaffold.yaml", "buildCommand: ", "buildCommand: grep -qv FAIL content.txt && ")
    words: tuple[str, ...] = ("--port-forward=user,services", "-n", project.namespace)
    if place == "context":
        project, words = in_context(project, bed), ("--port-forward=user,services,pods",)
    world = World(bed, project, words, free_port())
    with told_of(done):
        async with world.started():
            ports = await world.settled()
            await watching(world.running)
            for step in steps_of(world, steps, random):
                done.append(step.__name__)
                ports = await after(step, world, ports)
                await as_after_a_fresh_start(world)


async def after(step: Callable[[], Awaitable[None]], world: World, ports: dict[str, int]) -> dict[str, int]:
    """The local ports when all has settled; those of before, but where another was asked for."""
    moving = {"app"} if step == world.edit_configuration else set[str]()
    around: contextlib.AbstractAsyncContextManager[None] = all_served(
        {name: ports[name] for name in {"app", "web", "api"} - moving}
    )
    if step == world.remake_namespace:
        # Its services are gone, and their ports free for a while; what was asked for by a file stays asked for.
        around, moving = none_refused(ports["app"]), {"web", "api", "pods"}
    async with around:
        await step()
        found = await world.settled()
    for name in found.keys() - moving - world.asked.keys():
        assert found[name] == ports[name], name
    assert {name: found[name] for name in world.asked} == world.asked
    return found


@contextlib.contextmanager
def told_of(done: list[str]) -> Iterator[None]:
    """Adds the steps to a failure."""
    try:
        yield
    except BaseException as error:
        error.add_note(", ".join(done))
        raise
