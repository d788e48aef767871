"""One watch's objects: found by label as by looking through them; told is who would see something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.plan.made import pod
from watcher.cluster.kinds import Pod
from watcher.cluster.store import Collection, Key, key_of, labelled

Look = Callable[[Mapping[Key, Pod]], object]

labels = st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from(["web", "db"]), max_size=2)


def made(name: str, labels: Mapping[str, str], *, ready: bool = True, version: str = "1") -> Pod:
    item = pod(name, ready=ready)[1]
    assert isinstance(item, Pod)
    return replace(item, metadata=replace(item.metadata, labels=dict(labels), resource_version=version))


pods = st.builds(made, st.sampled_from("abcd"), labels, ready=st.booleans(), version=st.integers(1, 3).map(str))
looks: st.SearchStrategy[Look] = st.one_of(
    st.just(sorted),
    st.just(lambda there: {key: ready(item) for key, item in there.items()}),
    st.sampled_from("abcd").map(lambda name: lambda there: ready(there.get(("default", name)))),
    labels.map(lambda asked: lambda there: {key_of(item): ready(item) for item in labelled(there, asked)}),
)


def ready(item: Pod | None) -> bool | None:
    return None if item is None else item.ready


@given(st.lists(st.tuples(st.booleans(), pods)), looks)
def test_who_would_see_something_else_is_told(steps: list[tuple[bool, Pod]], look: Look) -> None:
    """After any change a look gives what it gives of a plain mapping; where it gives something new, that was told."""
    collection, plain = Collection[Pod](), dict[Key, Pod]()
    seen = look(collection)
    for put, item in steps:
        told = collection.put(item) if put else collection.drop(item)
        if put:
            plain[key_of(item)] = item
        else:
            plain.pop(key_of(item), None)
        assert look(plain) == seen or told
        seen = look(collection)
        assert seen == look(plain)


@pytest.mark.parametrize(
    ("look", "told"),
    [
        (set, True),
        (lambda there: there.get(("default", "web-0")), True),
        (lambda there: there.get(("default", "web-1")), False),
        (lambda there: there.labelled({"app": "web"}), True),
        (lambda there: there.labelled({"app": "db"}), False),
        (lambda there: there.labelled({}), True),
        (lambda there: None, False),
    ],
)
def test_what_nobody_looked_at_changes_without_a_word(look: Callable[[Collection[Pod]], object], *, told: bool) -> None:
    """Whoever was told looks again, or wants to know no more."""
    collection = Collection([made("web-0", {"app": "web"})])
    look(collection)
    assert collection.put(made("web-0", {"app": "web"}, ready=False)) == told
    assert not collection.put(made("web-0", {"app": "web"}))


@pytest.mark.parametrize("after", [{"app": "web"}, {"app": "db"}])
def test_an_object_that_gets_or_loses_a_label_is_told(after: dict[str, str]) -> None:
    """Whichever of the two states is of those that were looked for."""
    collection = Collection([made("web-0", {"app": "web" if after["app"] == "db" else "db"})])
    collection.labelled({"app": "web"})
    assert collection.put(made("web-0", after))


def test_a_new_version_of_the_same_is_no_change() -> None:
    """As when a field changes that we do not read."""
    collection = Collection([made("web-0", {"app": "web"})])
    set(collection)
    assert not collection.put(made("web-0", {"app": "web"}, version="2"))
    assert collection.put(made("web-0", {"app": "web"}, ready=False, version="3"))
