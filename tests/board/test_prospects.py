"""`portside forward` gives up when none of its targets can ever work."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.board.made import forward
from tests.board.playing import Said, plan_of
from watcher.board.readiness import Prospects
from watcher.board.records import ForwardRecord
from watcher.plan.plan import Plan


def asked(*idents: str, broken: str = "") -> Plan:
    plan = plan_of({ident: Said("wanted") for ident in idents})
    return replace(plan, forwards=tuple(replace(wanted, broken=broken) for wanted in plan.forwards))


def states(**given: str) -> dict[str, ForwardRecord]:
    return {ident: forward(ident, state, id=ident) for ident, state in given.items()}


def none_left(plan: Plan, forwards: dict[str, ForwardRecord], *, settled: bool = True, **before: Any) -> bool:
    """`found`: an earlier plan, settled; `worked`: ids that have been ready."""
    prospects = Prospects()
    if "found" in before:
        prospects.planned(before["found"], settled=True)
    for ident in before.get("worked", ()):
        prospects.worked(ident)
    prospects.planned(plan, settled=settled)
    return prospects.none_left(plan, forwards, settled=settled)


@pytest.mark.parametrize("state", ["waiting", "listening", "ready"])
def test_what_waits_may_work(state: str) -> None:
    """Whatever else is wrong."""
    assert not none_left(asked("a", "b"), states(a=state, b="failed"))


def test_what_was_never_right() -> None:
    """A missing port, once the lists are complete, if it is so for every target."""
    assert none_left(asked("a", "b", broken="no such port"), states(a="failed", b="failed"))
    assert not none_left(asked("a", broken="no such port"), states(a="failed"), settled=False)
    assert not none_left(Plan(), {})


def test_what_was_there_once_is_waited_for() -> None:
    """The target was found, or its forward was ready."""
    gone = asked("a", broken="it does not exist")
    assert not none_left(gone, states(a="failed"), found=asked("a"))
    assert not none_left(gone, states(a="failed"), worked=["a"])


def test_what_the_forward_itself_cannot_do() -> None:
    """No permission to open sessions is hopeless though the object is there; unless it has worked before."""
    assert none_left(asked("a"), states(a="failed"), found=asked("a"))
    assert not none_left(asked("a"), states(a="failed"), worked=["a"])


def test_a_local_port_that_is_taken() -> None:
    """It is bound once: that is known before any list is complete."""
    failed = {"a": forward("a", "failed", id="a", local_port=0)}
    assert none_left(asked("a"), failed, settled=False)


def test_skips() -> None:
    """Hopeless from the start; a skip of what was forwarded before may be lifted again."""
    skipped = plan_of({"a": Said("skip")})
    assert none_left(skipped, {})
    assert not none_left(skipped, {}, settled=False)
    assert not none_left(skipped, {}, found=asked("a"))
    assert not none_left(plan_of({"a": Said("skip"), "b": Said("published")}), {})
