"""Selectors on any text: a predicate or a bad request, nothing else. What they select: tests/conformance."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fixtures.embedded.selectors import parse
from fixtures.embedded.statuses import StatusError

POD = {"metadata": {"name": "app", "namespace": "default", "labels": {"a": "b"}}}


def ask(labels: str, fields: str) -> bool | int:
    try:
        return parse(labels, fields)(POD)
    except StatusError as error:
        return error.code


@given(st.text(), st.text())
def test_any_text(labels: str, fields: str) -> None:
    """Whatever is asked, the answer is yes, no or 400."""
    assert ask(labels, fields) in {True, False, 400}


@given(st.lists(st.sampled_from(["a=b", "a==b", "a in (b, c)", "a", "!c", "c!=b", "a notin (c)"])))
def test_all_requirements_count(requirements: list[str]) -> None:
    """Requirements that hold each hold together; one that does not spoils it."""
    assert parse(",".join(requirements), "")(POD)
    assert not parse(",".join([*requirements, "a=c"]), "")(POD)


def test_no_labels() -> None:
    """An object without labels is seen by an empty selector and by one for absence."""
    bare = {"metadata": {"name": "app", "namespace": "default"}}
    assert parse("", "")(bare)
    assert parse("!a", "metadata.name=app,metadata.namespace!=other")(bare)
    assert not parse("a", "")(bare)
