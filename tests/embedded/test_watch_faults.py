"""The faults that tests ask of watches and lists; the real cluster shows them only by chance."""

from __future__ import annotations

import httpx
import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from tests.conformance.subjects import EmbeddedSubject
from tests.conformance.test_watches import revision, watching


async def test_a_forgotten_revision_is_410(cluster: EmbeddedCluster, subject: EmbeddedSubject) -> None:
    """A watch from a compacted revision gets 200 and an ERROR event of code 410, then its end."""
    start = await revision(subject)
    await subject.put_service("one", {})
    cluster.store.compact()
    async with watching(subject, "services", resourceVersion=start) as watch:
        kind, status = await watch.next()
        assert (kind, status["code"], status["reason"]) == ("ERROR", 410, "Expired")
        assert status["message"] == f"too old resource version: {start} ({cluster.store.compacted})"
        with pytest.raises(trio.EndOfChannel):
            await watch.next()


async def test_a_forgotten_page_is_410(cluster: EmbeddedCluster, api: httpx.AsyncClient) -> None:
    """A continue token of a compacted revision is 410: start again."""
    for name in ("one", "two"):
        cluster.service(name, {}, [{"port": 80}])
    page = (await api.get("/api/v1/services", params={"limit": 1})).json()
    cluster.service("three", {}, [{"port": 80}])
    cluster.store.compact()
    answer = await api.get("/api/v1/services", params={"limit": 1, "continue": page["metadata"]["continue"]})
    assert (answer.status_code, answer.json()["reason"]) == (410, "Expired")


@pytest.mark.parametrize(("code", "reason"), [(410, "Expired"), (504, "Timeout")])
async def test_an_error_ends_open_watches(
    cluster: EmbeddedCluster, subject: EmbeddedSubject, code: int, reason: str
) -> None:
    """Watches of the kind end with the ERROR event asked for; those of other kinds go on."""
    start = await revision(subject)
    async with (
        watching(subject, "services", resourceVersion=start) as failing,
        watching(subject, "pods", resourceVersion=start) as going_on,
    ):
        cluster.fail_watches("Service", code=code)
        kind, status = await failing.next()
        assert (kind, status["code"], status["reason"]) == ("ERROR", code, reason)
        with pytest.raises(trio.EndOfChannel):
            await failing.next()
        await cluster.pod("later")
        assert await going_on.types(1) == ["ADDED"]


async def test_watches_end_without_a_word(cluster: EmbeddedCluster, subject: EmbeddedSubject) -> None:
    """A watch may just end; one from the same revision gets what came meanwhile."""
    start = await revision(subject)
    async with watching(subject, "services", resourceVersion=start) as watch:
        cluster.fail_watches()
        with pytest.raises(trio.EndOfChannel):
            await watch.next()


async def test_a_cut_after_so_many_events(cluster: EmbeddedCluster, subject: EmbeddedSubject) -> None:
    """With `events_until_cut` each watch ends after that many events."""
    cluster.watches.events_until_cut = 2
    start = await revision(subject)
    for name in "abc":
        await subject.put_service(name, {})
    async with watching(subject, "services", resourceVersion=start) as watch:
        assert await watch.types(2) == ["ADDED", "ADDED"]
        with pytest.raises(trio.EndOfChannel):
            await watch.next()


async def test_bookmarks_on_demand(cluster: EmbeddedCluster, subject: EmbeddedSubject) -> None:
    """A bookmark carries the store's revision to a watch that asked for bookmarks, though its kind did not change."""
    start = await revision(subject)
    async with watching(subject, "services", resourceVersion=start, allowWatchBookmarks="true") as watch:
        await cluster.pod("other-kind")
        cluster.watches.send_bookmarks()
        kind, bookmark = await watch.next()
        assert (kind, bookmark["metadata"]["resourceVersion"]) == ("BOOKMARK", str(cluster.store.revision))
