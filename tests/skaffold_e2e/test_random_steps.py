"""Whatever happens beside a real Skaffold, in whatever order: after each step all is as after a fresh start.

The seed of a run is in its name and in its failures' messages; PORTSIDE_SEED chooses another.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from random import Random

import pytest
import trio

from fixtures.cluster.bed import Bed
from tests.skaffold_e2e.developing import developing, text_at, watching
from tests.support.probe import probing
from tests.support.process import Portside, Record, portside
from tests.support.skaffold import Project
from tests.support.sockets import free_port

pytestmark = pytest.mark.skaffold

STEPS = pytest.mark.parametrize("steps", [15, pytest.param(100, marks=pytest.mark.long)])
LOOP = "Watching for changes..."


class World:
    """The project as it was left by the last step, and the portside beside it."""

    def __init__(self, bed: Bed, project: Project, running: Portside, api: int) -> None:
        self.bed = bed
        self.project = project
        self.running = running
        self.api = api
        self.manifest = (project.folder / "k8s.yaml").read_text()
        self.version = 1
        self.edits = 0
        self.local_port = 9001

    @property
    def text(self) -> str:
        return f"hello from {self.project.namespace}, version {self.version}"

    async def looped(self, change: Callable[[], object]) -> None:
        """Make a change and wait until Skaffold has gone through a loop because of it."""
        loops = self.running.stderr.count(LOOP)
        change()
        await self.running.wait_for(lambda _: self.running.stderr.count(LOOP) > loops, 90)

    async def settled(self) -> dict[str, Record]:
        """The forwards by resource name, once each is ready and says the text of now."""
        records = {name: await self.running.ready(name, 90) for name in ("app", "web", "api")}
        for record in records.values():
            with trio.fail_after(30):
                while not (await text_at(record)).startswith(self.text):  # noqa: ASYNC110 - old pods may answer until they end
                    await trio.sleep(0.1)
        return {name: self.running.last(name) or {} for name in records}

    # Steps

    async def kill_pods(self) -> None:
        self.bed.kubectl("-n", self.project.namespace, "delete", "pod", "-l", "app=hello", "--wait=false")

    async def redeploy(self) -> None:
        self.version += 1
        await self.looped(lambda: self.project.save(self.text))

    async def edit_manifest(self) -> None:
        """Every object: Skaffold applies only those that have changed since it did so last."""
        self.edits += 1
        stamp = f'annotations: {{edit: "{self.edits}"}}'
        text = self.manifest.replace("metadata:\n  name:", f"metadata:\n  {stamp}\n  name:")
        text = text.replace("      labels:\n", f"      {stamp}\n      labels:\n")
        await self.looped(lambda: (self.project.folder / "k8s.yaml").write_text(text))

    async def edit_configuration(self) -> None:
        before, self.local_port = self.local_port, free_port()
        change = ("skaffold.yaml", f"localPort: {before}", f"localPort: {self.local_port}")
        await self.looped(lambda: self.project.edit(*change))

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
    """What a plan wants, without what depends on which ports are free."""
    fields = ("source", "resourceType", "resourceName", "namespace", "remotePort", "requestedPort")
    return {tuple(record[field] for field in fields) for record in records}


async def fresh_start(world: World) -> set[tuple[object, ...]]:
    """What a portside that is started now, at other addresses, forwards."""
    project = world.project
    words = ("watch", "--skaffold", str(world.api), "-n", project.namespace, "--address", "127.0.0.2", "--no-publish")
    async with portside(*words, environment=project.environment, folder=project.folder) as fresh:
        for name in ("app", "web", "api"):
            await fresh.ready(name, 60)
        found = shown(fresh.forwards)
        assert await fresh.end() == 0
    return found


def steps_of(world: World) -> list[Callable[[], Awaitable[None]]]:
    often = [world.kill_pods, world.redeploy, world.edit_manifest, world.edit_configuration]
    return [*often, *often, world.fail_a_build, world.fail_a_deploy, world.remake_namespace]


@STEPS
async def test_after_any_steps_all_is_as_after_a_fresh_start(bed: Bed, project: Project, steps: int) -> None:
    """Ports have not moved but where another was asked for, and nothing was refused that could be served."""
    seed = int(os.environ.get("PORTSIDE_SEED") or Random().randrange(1_000_000))
    random, api = Random(seed), free_port()
    done = [f"seed {seed}"]
    project.edit("skaffold.yaml", "buildCommand: ", "buildCommand: grep -qv FAIL content.txt && ")
    async with developing(project, rpc_http_port=api) as running:
        world = World(bed, project, running, api)
        ports = {name: record["localPort"] for name, record in (await world.settled()).items()}
        await watching(running)
        for _ in range(steps):
            step = random.choice(steps_of(world))
            done.append(step.__name__)
            asked = world.local_port
            if step == world.remake_namespace:
                await step()
                records = await world.settled()
            else:
                async with probing(ports["web"]) as probe:
                    await step()
                    records = await world.settled()
                    await probe.good(5)
                assert not probe.failures, (probe.counts, done)
            after = {name: record["localPort"] for name, record in records.items()}
            if world.local_port != asked:
                assert after.pop("app") == world.local_port, done
                ports["app"] = world.local_port
            if step != world.remake_namespace:  # its services were gone, and their ports were free for a while
                assert after.items() <= ports.items(), (after, ports, done)
            ports |= after
            assert shown(running.forwards) == await fresh_start(world), done
