"""`portside wait --iteration` before a Skaffold that a test plays: the exit code, what is printed, and when."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.skaffold_api import Recording, SkaffoldApi
from tests.cli.made import NAMESPACE, Place, problems_in
from tests.cli.test_wait import Waiter, forwarding, waiting
from tests.support.process import Portside, portside

RECORDED, _ = Recording.load("handle-post").split("DevLoop", "Succeeded")
LATER = datetime.now(UTC) + timedelta(hours=1)  # than every recorded event


def task(name: str, status: str, iteration: int, error: str = "") -> Recording:
    """One event of a dev loop."""
    event: dict[str, Any] = {"task": name, "status": status, "iteration": iteration}
    event["actionableErr"] = {"errCode": "BUILD_UNKNOWN", "message": error, "suggestions": []} if error else None
    return Recording((msgspec.json.encode({"result": {"timestamp": LATER, "taskEvent": event}}),))


class Scene:
    """A Skaffold that is idle after iteration 1, and a portside beside it whose forwards are ready."""

    def __init__(self, skaffold: SkaffoldApi, running: Portside, place: Place) -> None:
        self.skaffold = skaffold
        self.running = running
        self._place = place

    async def play(self, *tasks: Recording) -> None:
        """Returns when portside has seen the last of them."""
        before = len(self.running.records)
        for one in tasks:
            self.skaffold.play(one)
        await self.running.wait_for(lambda records: any(r["kind"] == "skaffold" for r in records[before:]))

    def waiting(self, *words: str) -> AbstractAsyncContextManager[Waiter]:
        return waiting(self._place, "--iteration", *words)


async def printed(waiter: Waiter) -> str:
    assert waiter.process.stdout is not None
    return (await waiter.process.stdout.receive_some()).decode()


@pytest.fixture
async def scene(cluster: EmbeddedCluster, place: Place) -> AsyncIterator[Scene]:
    async with SkaffoldApi.open(RECORDED) as skaffold:
        command = ("watch", "--skaffold", skaffold.url, "--port-forward=services")
        async with portside(*command, environment=place.environment, folder=place.folder) as running:
            await running.ready("web")
            yield Scene(skaffold, running, place)


async def test_an_iteration_that_begins_during_the_wait(scene: Scene) -> None:
    """It is waited for to its end, with the phase on stderr, and its number is printed."""
    async with scene.waiting("--notice-within=60") as waiter:
        await waiter.says("waiting: Skaffold has not noticed a change")
        await scene.play(task("DevLoop", "InProgress", 9), task("Build", "InProgress", 9))
        await scene.play(task("Deploy", "Succeeded", 9), task("DevLoop", "Succeeded", 9))
        assert await waiter.ends() == 0, waiter.stderr
        assert await printed(waiter) == "Skaffold's iteration 9 is served\n"


async def test_a_deploy_that_the_watches_tell_of_late(cluster: EmbeddedCluster, place: Place) -> None:
    """An entry's service that the iteration has created is waited for, though Skaffold is idle before it is seen."""
    entry = {"resourceType": "service", "resourceName": "new", "namespace": NAMESPACE, "port": 8080}
    project = {"apiVersion": "skaffold/v4beta11", "kind": "Config", "portForward": [entry]}
    place.write("skaffold.yaml", json.dumps(project))
    async with SkaffoldApi.open(RECORDED) as skaffold:
        command = ("watch", "--skaffold", skaffold.url, "--port-forward=user")
        async with portside(*command, environment=place.environment, folder=place.folder) as running:
            await running.wait_for(lambda _: (running.last("new") or {}).get("state") == "failed")
            scene = Scene(skaffold, running, place)
            async with scene.waiting("--notice-within=60") as waiter:
                await waiter.says("waiting: Skaffold has not noticed a change")
                await scene.play(task("DevLoop", "InProgress", 9), task("Build", "InProgress", 9))
                cluster.watches.delay()
                cluster.service("new", {"app": "web"}, [{"port": 8080}], namespace=NAMESPACE)
                await scene.play(task("Deploy", "Succeeded", 9), task("DevLoop", "Succeeded", 9))
                assert await waiter.ends() == 0, waiter.stderr
            cluster.watches.catch_up()


async def test_no_change(scene: Scene) -> None:
    """It returns after the time to notice one, and says so."""
    async with scene.waiting("--notice-within=0.1") as waiter:
        assert (await waiter.ends(), waiter.problems) == (0, [])
        assert (await printed(waiter)).endswith("is served; no change was noticed\n")


async def test_a_failed_build(scene: Scene) -> None:
    """Exit code 1 and the first error, not the ones that repeat it; a failure of before counts until it is mended."""
    failed = (
        task("DevLoop", "InProgress", 9),
        task("Build", "Failed", 9, "build [app] failed:\n exit status 3"),
        task("DevLoop", "Failed", 9, "the loop failed"),
    )
    async with scene.waiting("--notice-within=60") as waiter:
        await waiter.says("waiting: Skaffold has not noticed a change")
        await scene.play(*failed)
        assert await waiter.ends() == 1
        assert waiter.stderr.endswith("portside: Skaffold's iteration 9 failed: build [app] failed: exit status 3\n")
        assert await printed(waiter) == ""
    async with scene.waiting("--notice-within=0.1") as waiter:
        assert await waiter.ends() == 1
    await scene.play(task("DevLoop", "InProgress", 10), task("DevLoop", "Succeeded", 10))
    async with scene.waiting("--notice-within=0.1", "svc/web") as waiter:
        assert (await waiter.ends(), waiter.problems) == (0, [])


async def test_a_portside_without_skaffold(cluster: EmbeddedCluster, place: Place) -> None:
    """There is no iteration, ever: exit code 1 at once."""
    async with forwarding(place, "svc/web", ":8080") as running:
        await running.ready("web")
        done = await trio.to_thread.run_sync(place.portside, "wait", "--iteration")
        assert (done.returncode, done.stdout) == (1, "")
        assert problems_in(done.stderr) == ["portside: no Skaffold is followed here, so there is no iteration"]


def test_the_time_alone_means_nothing(place: Place) -> None:
    """It is part of --iteration."""
    done = place.portside("wait", "--notice-within", "1")
    assert done.returncode == 2
    assert "--notice-within means nothing without --iteration" in done.stderr
