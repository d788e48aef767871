"""Watches: what changes, in which order, from where on."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import trio

from tests.conformance.subjects import POD, Subject

PATIENCE = 60.0
MAX_EVENTS = 1000  # of one watch here; more than any case makes


class Watch:
    """One watch, event by event."""

    def __init__(self, lines: trio.MemoryReceiveChannel[str]) -> None:
        self._lines = lines

    async def next(self) -> tuple[str, dict[str, Any]]:
        """Type and object. Raises trio.EndOfChannel at the end, trio.TooSlowError."""
        with trio.fail_after(PATIENCE):
            event = json.loads(await self._lines.receive())
        return event["type"], event["object"]

    async def types(self, count: int) -> list[str]:
        return [(await self.next())[0] for _ in range(count)]


@contextlib.asynccontextmanager
async def watching(subject: Subject, kind: str, **query: str) -> AsyncIterator[Watch]:
    path = f"/api/v1/namespaces/{subject.namespace}/{kind}"
    send, receive = trio.open_memory_channel[str](MAX_EVENTS)
    async with (
        subject.server.client() as client,
        client.stream("GET", path, params={"watch": "true"} | query) as answer,
        trio.open_nursery() as nursery,
    ):
        assert answer.status_code == 200
        # A task that waits nowhere but inside httpx's nested generators: cancelling it closes each of them.
        nursery.start_soon(_pump, answer, send)
        yield Watch(receive)
        nursery.cancel_scope.cancel()


async def _pump(answer: httpx.Response, send: trio.MemorySendChannel[str]) -> None:
    with send:
        async for line in answer.aiter_lines():
            send.send_nowait(line)


async def revision(subject: Subject, kind: str = "services") -> str:
    async with subject.server.client() as client:
        listed = await client.get(f"/api/v1/namespaces/{subject.namespace}/{kind}")
    version: str = listed.json()["metadata"]["resourceVersion"]
    return version


async def live_and_die(subject: Subject, name: str) -> None:
    """A service is added, changed and deleted."""
    await subject.put_service(name, {"turn": "1"})
    await subject.put_service(name, {"turn": "2"})
    await subject.delete_service(name)


async def test_changes_come_in_order(subject: Subject) -> None:
    """A watch from a list's revision sees each change after it, with rising revisions."""
    start = await revision(subject)
    selector = "metadata.name=watched"
    async with watching(subject, "services", resourceVersion=start, fieldSelector=selector) as watch:
        await live_and_die(subject, "watched")
        seen = [await watch.next() for _ in range(3)]
    assert [kind for kind, _ in seen] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(obj["metadata"]["resourceVersion"]) for _, obj in seen]
    assert versions == sorted(set(versions))
    assert versions[0] > int(start)
    assert seen[2][1]["metadata"]["labels"] == {"turn": "2"}
    assert all(obj["kind"] == "Service" and obj["apiVersion"] == "v1" for _, obj in seen)


async def test_resume(subject: Subject) -> None:
    """A watch that goes on from an event's revision sees what came after that event, though it came meanwhile."""
    start = await revision(subject)
    await live_and_die(subject, "resumed")
    query = {"fieldSelector": "metadata.name=resumed"}
    async with watching(subject, "services", resourceVersion=start, **query) as watch:
        _, added = await watch.next()
    version = added["metadata"]["resourceVersion"]
    async with watching(subject, "services", resourceVersion=version, **query) as watch:
        assert await watch.types(2) == ["MODIFIED", "DELETED"]


async def test_a_selector_sees_objects_come_and_go(subject: Subject) -> None:
    """An object that ceases to match is DELETED to the watch, one that comes to match is ADDED."""
    query = {"resourceVersion": await revision(subject), "labelSelector": "seen=yes"}
    async with watching(subject, "services", **query) as watch:
        for answer in ("no", "yes", "yes", "no", "yes"):
            await subject.put_service("passing", {"seen": answer, "at": str(trio.current_time())})
        await subject.delete_service("passing")
        assert await watch.types(5) == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]


async def test_without_a_revision_it_begins_with_what_is_there(subject: Subject) -> None:
    """A watch without a revision gives ADDED for each object, then a bookmark that marks the end of these."""
    async with watching(subject, "pods", allowWatchBookmarks="true", fieldSelector=f"metadata.name={POD}") as watch:
        kind, pod = await watch.next()
        assert (kind, pod["metadata"]["name"]) == ("ADDED", POD)
        kind, bookmark = await watch.next()
    assert kind == "BOOKMARK"
    assert bookmark["kind"] == "Pod"
    assert bookmark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(bookmark["metadata"]["resourceVersion"]) >= int(pod["metadata"]["resourceVersion"])


async def test_it_ends_at_its_time(subject: Subject) -> None:
    """timeoutSeconds ends the watch without an error."""
    query = {"resourceVersion": await revision(subject), "labelSelector": "none=such", "timeoutSeconds": "1"}
    async with watching(subject, "services", **query) as watch:
        with pytest.raises(trio.EndOfChannel):
            await watch.next()


async def test_the_life_of_a_pod(subject: Subject) -> None:
    """A pod that is deleted is seen with its deletionTimestamp first, then DELETED."""
    start = await revision(subject, "pods")
    async with watching(subject, "pods", resourceVersion=start, fieldSelector="metadata.name=mortal") as watch:
        await subject.add_pod("mortal")
        await subject.delete_pod("mortal")
        deleting = []
        while True:
            kind, pod = await watch.next()
            deleting.append("deletionTimestamp" in pod["metadata"])
            if kind == "DELETED":
                break
    assert deleting == sorted(deleting)
    assert deleting.count(True) >= 2
