"""The API's envelopes: a watch's lines whole, split anywhere, malformed; errors by their Status."""

from __future__ import annotations

import contextlib
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cluster_client.memory_api import bookmark, error, event, pod
from watcher.cluster import meta_v1
from watcher.cluster.kinds import KINDS, POD, ObjectMeta, Resource
from watcher.cluster.meta_v1 import (
    ApiStatus,
    Cause,
    Details,
    LineDecoder,
    RequestInfo,
    WatchDecoder,
    WatchEvent,
    WatchEventType,
)
from watcher.errors import (
    ApiError,
    ApiForbiddenError,
    ExpiredError,
    MalformedError,
    NotFoundError,
    UnauthorizedError,
)

ASKED = RequestInfo("list", "pods", "shop")


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(at)]


def decoded(parts: list[bytes]) -> list[WatchEvent]:
    decoder = WatchDecoder(POD)
    return [found for part in parts for found in decoder.feed(part)]


STREAM = b"".join(
    [
        event("ADDED", pod("a", 11)),
        event("MODIFIED", pod("a", 12)),
        b"\n",
        bookmark(13),
        event("ADDED", pod("ü\u2028", 14)),
        event("DELETED", pod("a", 15)),
    ]
)


@given(st.lists(st.integers(min_value=0), max_size=40))
def test_split_anywhere_a_watch_gives_the_same_events(cuts: list[int]) -> None:
    """However the network cuts the body, the events are those of the whole."""
    assert decoded(pieces(STREAM, cuts)) == decoded([STREAM])


def test_byte_by_byte_a_watch_gives_the_same_events() -> None:
    """One byte at a time is one of those cuts, and the one that finds most."""
    assert decoded([STREAM[i : i + 1] for i in range(len(STREAM))]) == decoded([STREAM])


def test_events_are_what_the_lines_say() -> None:
    """Type, name and version of each line arrive; a bookmark's object, null lists and all, is its version."""
    found = [(e.change, e.object.metadata.name, e.object.metadata.resource_version) for e in decoded([STREAM])]
    assert found == [
        (WatchEventType.ADDED, "a", "11"),
        (WatchEventType.MODIFIED, "a", "12"),
        (WatchEventType.BOOKMARK, "", "13"),
        (WatchEventType.ADDED, "ü\u2028", "14"),
        (WatchEventType.DELETED, "a", "15"),
    ]


def test_a_bookmark_is_a_version_and_nothing_more() -> None:
    """A bookmark as Kubernetes 1.34 sent it: the hollow pod in it is no reason to end the watch."""
    recorded = (
        b'{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"4711"},'
        b'"spec":{"containers":null},"status":{}}}\n'
    )
    assert decoded([recorded]) == [WatchEvent(WatchEventType.BOOKMARK, Resource(ObjectMeta(resource_version="4711")))]


def test_an_unfinished_line_is_no_event() -> None:
    """What a broken connection leaves behind is not half an object."""
    assert [e.object.metadata.name for e in decoded([STREAM[:-1]])] == ["a", "a", "", "ü\u2028"]


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"[]",
        b"{}",
        b'{"type":"ADDED"}',
        b'{"type":"ADDED","object":null}',
        b'{"type":"ADDED","object":{"metadata":{"name":7}}}',
        b'{"type":"RENAMED","object":{"metadata":{}}}',
        b'{"type":7,"object":{}}',
        b'{"type":"ERROR","object":[]}',
        b"\xff\xfe{}",
        b'{"type":"ADDED","object":' + b"[" * 20_000 + b"}",
    ],
    ids=lambda line: line[:40].decode("latin-1"),
)
def test_a_malformed_line_is_one_clear_error(line: bytes) -> None:
    """No line makes another exception than MalformedError, and its text is one line without the content."""
    with pytest.raises(MalformedError, match="watch event that cannot be read") as raised:
        WatchDecoder(POD).feed(line + b"\n")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 200


@given(st.binary(max_size=200))
def test_any_bytes_give_events_or_one_of_our_errors(data: bytes) -> None:
    """Whatever comes, the decoder ends in events, MalformedError or ApiError."""
    with contextlib.suppress(MalformedError, ApiError):
        WatchDecoder(POD).feed(data)


FIELDS = ["type", "object", "metadata", "name", "spec", "containers", "status", "ports", "labels", "ADDED", "code"]
SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(["ADDED", "ERROR", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=15,
)


@given(st.sampled_from([kind.plural for kind in KINDS]), SHAPES, st.sampled_from(["ADDED", "BOOKMARK", "ERROR", "?"]))
def test_any_structure_gives_events_or_one_of_our_errors(plural: str, shape: object, change: str) -> None:
    """JSON of any shape, the API's own fields in wrong places: as a line, an object, a page and a Status."""
    [kind] = [kind for kind in KINDS if kind.plural == plural]
    for value in (shape, {"type": change, "object": shape}):
        try:
            WatchDecoder(kind).feed(json.dumps(value).encode() + b"\n")
        except (MalformedError, ApiError) as error:
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
    body = json.dumps(shape).encode()
    with contextlib.suppress(MalformedError):
        meta_v1.decode(body, meta_v1.Page, ASKED)
    assert meta_v1.status(body, 500).code == 500


def test_a_line_has_a_bound() -> None:
    """A line that never ends is an error after 4 MiB, not all memory."""
    decoder = LineDecoder()
    part = b"x" * (1 << 20)
    assert [decoder.feed(part) for _ in range(4)] == [[]] * 4
    with pytest.raises(MalformedError, match="longer than 4 MiB"):
        decoder.feed(b"x")


def test_a_whole_line_over_the_bound_is_refused_too() -> None:
    """The bound holds for a line that arrives with its end."""
    with pytest.raises(MalformedError, match="longer than"):
        LineDecoder().feed(b"x" * (meta_v1.MAX_LINE + 1) + b"\n")


@given(st.lists(st.binary(min_size=1, max_size=9).filter(lambda b: b"\n" not in b and b.strip())), st.data())
def test_lines_are_what_was_joined(lines: list[bytes], data: st.DataObject) -> None:
    """Splitting and joining are inverse, for any lines and any cuts."""
    body = b"".join(line + b"\n" for line in lines)
    decoder = LineDecoder()
    cuts = data.draw(st.lists(st.integers(min_value=0), max_size=9))
    assert [found for part in pieces(body, cuts) for found in decoder.feed(part)] == lines


@pytest.mark.parametrize(("code", "message"), [(410, "too old resource version"), (504, "Too large resource version")])
def test_an_error_event_that_ends_the_version_is_expired(code: int, message: str) -> None:
    """410 and 504 with "Too large resource version" both mean: list again."""
    with pytest.raises(ExpiredError) as raised:
        WatchDecoder(POD).feed(error(code, message))
    assert raised.value.code == code


def test_another_error_event_is_an_api_error() -> None:
    """An ERROR of another kind does not cost a list."""
    with pytest.raises(ApiError, match=r"cannot watch pods: etcd is away \(500\)") as raised:
        WatchDecoder(POD).feed(error(500, "etcd is away"))
    assert not isinstance(raised.value, ExpiredError)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(401, UnauthorizedError), (403, ApiForbiddenError), (404, NotFoundError), (410, ExpiredError), (500, ApiError)],
)
def test_a_status_code_is_an_error_of_its_own(code: int, kind: type[ApiError]) -> None:
    """Each code that someone acts on has a type; the message says what was tried and what came back."""
    found = meta_v1.api_error(meta_v1.status(json.dumps({"message": "because"}).encode(), code), ASKED)
    assert type(found) is kind
    assert found.code == code
    assert str(found).startswith("cannot list pods in namespace shop: because")


def test_a_forbidden_names_verb_resource_and_namespace() -> None:
    """What a role would have to allow can be read off the error."""
    found = meta_v1.api_error(ApiStatus("no", code=403), ASKED)
    assert isinstance(found, ApiForbiddenError)
    assert (found.verb, found.resource, found.namespace) == ("list", "pods", "shop")


@pytest.mark.parametrize(
    ("status", "expired"),
    [
        (ApiStatus("Timeout: Too large resource version: 9, current: 3", code=504), True),
        (ApiStatus("slow", code=504, details=Details((Cause(reason="ResourceVersionTooLarge"),))), True),
        (ApiStatus("slow", code=504, details=Details((Cause(message="Too large resource version"),))), True),
        (ApiStatus("slow", code=504, details=Details()), False),
        (ApiStatus("gateway", code=504), False),
    ],
)
def test_504_is_told_from_504(status: ApiStatus, *, expired: bool) -> None:
    """A gateway's time-out is not a version that is too large; all three ways of saying the latter are known."""
    assert isinstance(meta_v1.api_error(status, ASKED), ExpiredError) is expired


def test_a_proxys_error_page_is_no_traceback() -> None:
    """An answer without a Status still gives its code."""
    assert str(meta_v1.api_error(meta_v1.status(b"<html>", 502), ASKED)) == (
        "cannot list pods in namespace shop: HTTP status 502 (502)"
    )


def test_a_page_that_is_none_says_so() -> None:
    """A 200 that is not the API's names what was tried."""
    with pytest.raises(
        MalformedError, match="cannot list pods in namespace shop: the response is not from a Kubernetes"
    ):
        meta_v1.decode(b"<html>login</html>", meta_v1.Page, ASKED)


def test_a_long_text_of_a_server_is_one_short_line() -> None:
    """A message goes to logs and pages, whatever a server or a webhook writes."""
    said = str(meta_v1.api_error(ApiStatus("denied\n" * 100_000, code=500), ASKED))
    assert len(said) < 4000
    assert "\n" not in said
    assert said.startswith("cannot ")
    assert said.endswith("denied (500)")
