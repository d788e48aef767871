"""A bookmark as Kubernetes 1.34 sends it, for a kind whose required fields are null there."""

from __future__ import annotations

from watcher.cluster.lines import WatchDecoder
from watcher.cluster.objects import Bookmark, Meta, Pod

RECORDED = (
    b'{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"4711"},'
    b'"spec":{"containers":null},"status":{}}}\n'
)


def test_a_bookmark_is_a_version_and_nothing_more() -> None:
    """The hollow pod in it is no reason to end the watch."""
    [event] = WatchDecoder(Pod).feed(RECORDED)
    assert event.type == "BOOKMARK"
    assert event.object == Bookmark(metadata=Meta(resource_version="4711"))
