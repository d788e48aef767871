"""Lists of an engine's containers beside Skaffold's events, which come over another connection."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from random import Random

import httpx
import pytest
import trio
from trio.testing import MockClock

from tests.cluster_client.memory_api import until
from watcher.docker import containers
from watcher.docker.containers import ContainerWatch
from watcher.docker.daemon import Daemon


class Silence(httpx.AsyncByteStream):
    """Events that are late."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await trio.sleep(3600)
        yield b"{}"


async def test_a_deploy_outdates_the_list_until_there_is_a_newer_one(
    autojump_clock: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event about a new container is late, and a list that is under way may be too old: neither counts."""
    there = ["old"]
    answers = list[trio.Event]()

    async def engine(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/events":
            return httpx.Response(200, stream=Silence())
        listed = [{"Id": name} for name in there]
        answers.append(trio.Event())
        await answers[-1].wait()
        return httpx.Response(200, stream=httpx.ByteStream(json.dumps(listed).encode()))

    client = httpx.AsyncClient(transport=httpx.MockTransport(engine), base_url="http://engine")
    monkeypatch.setattr(containers, "client_of", lambda _: client)
    changes = list[bool]()
    watched = ContainerWatch(Daemon(url="http://engine"), lambda: changes.append(watched.snapshot.is_behind), Random(0))
    watched.refresh()
    assert not watched.snapshot.outdated
    nursery.start_soon(watched.run)
    await until(lambda: answers)
    answers[0].set()
    await until(lambda: not watched.snapshot.is_behind)
    watched.refresh()
    assert watched.snapshot.is_behind
    await until(lambda: len(answers) == 2)
    answers[1].set()
    there.append("new")
    watched.refresh()
    await until(lambda: len(answers) == 3)
    assert watched.snapshot.is_behind
    answers[2].set()
    await until(lambda: not watched.snapshot.is_behind)
    assert [container.id for container in watched.snapshot.containers] == ["new", "old"]
    assert changes == [False, False]
    nursery.cancel_scope.cancel()
