"""What counts as ready: for `portside wait` and --exec, by name and for all."""

from __future__ import annotations

import pytest

from tests.board.made import forward, plan, skip
from watcher.board.board import Board
from watcher.board.readiness import NOT_SETTLED, NOTHING, Readiness, command_readiness, parse_forward_query, readiness
from watcher.board.records import Record
from watcher.errors import ConfigError


def shown(*records: Record) -> Board:
    board = Board()
    for record in records:
        board.publish(record)
    return board


def asked(board: Board, *words: str, namespace: str = "") -> Readiness:
    return readiness([board], [parse_forward_query(word, namespace) for word in words])


def test_all_is_what_readyz_says() -> None:
    """Settled, and every forward ready; each that is not has its line."""
    assert readiness([shown(plan(), forward())]).ready
    assert readiness([shown(plan())]).ready
    assert readiness([shown(plan(settled=False), forward())]).missing == (NOT_SETTLED,)
    waits = readiness([shown(plan(), forward(), forward("api", "listening", reason="no pod"))])
    assert waits.missing == ("listening service/api port 8080 in namespace default: no pod",)
    assert not waits.hopeless


def test_a_failure_is_hopeless_once_the_plan_stands() -> None:
    """Before that a deploy may still put it right."""
    failed = forward("api", "failed", reason="port 8080 is taken")
    assert readiness([shown(plan(), failed)]).hopeless
    assert not readiness([shown(plan(settled=False), failed)]).hopeless
    assert not asked(shown(plan(), failed, forward()), "svc/web").hopeless


@pytest.mark.parametrize("word", ["svc/web", "service/web", "Services/web:8080", "service/web:8080"])
def test_names_are_kubectls(word: str) -> None:
    """Short forms, plurals, any case; a port where one is meant."""
    assert asked(shown(plan(), forward(), forward("api", "failed")), word).ready


@pytest.mark.parametrize("word", ["svc/we", "deploy/web", "svc/web:80", "web", "container/web"])
def test_another_name_is_another_thing(word: str) -> None:
    """It is waited for."""
    assert asked(shown(plan(), forward()), word).missing == (f"{word} is not forwarded",)


def test_a_namespace_narrows() -> None:
    """Without one any counts, and all that are meant must be ready."""
    board = shown(plan(), forward(), forward("web", "listening", id="other", namespace="other"))
    assert asked(board, "svc/web", namespace="default").ready
    assert len(asked(board, "svc/web").missing) == 1


def test_why_something_is_not_forwarded() -> None:
    """The reason of its skip."""
    assert asked(shown(plan(), skip()), "svc/dns").missing == (f"svc/dns is not forwarded: {skip().reason}",)


def test_several_portsides() -> None:
    """A name may match on any board; without names every board counts."""
    first, second = shown(plan(), forward()), shown(plan(settled=False))
    assert readiness([first, second], [parse_forward_query("svc/web", "")]).ready
    assert readiness([first, second]).missing == (NOT_SETTLED,)


@pytest.mark.parametrize("word", ["widget/web", "svc/", "container/..", ":80", ""])
def test_no_name_at_all(word: str) -> None:
    """Each is a ConfigError."""
    with pytest.raises(ConfigError):
        parse_forward_query(word, "")


def test_the_command_of_exec_needs_something() -> None:
    """Without any forward it is not ready, and lists the skips' reasons once the plan is settled."""
    assert command_readiness(shown(plan(), forward())).ready
    nothing = command_readiness(shown(plan()))
    assert (nothing.missing, nothing.hopeless) == ((NOTHING,), False)
    refused = command_readiness(shown(plan(), skip()))
    assert refused.missing == (NOTHING, f"service/dns port 53 is not forwarded: {skip().reason}")
    assert command_readiness(shown(plan(settled=False))).missing == (NOT_SETTLED,)


def test_the_command_of_exec_needs_all_that_forward_was_asked_for() -> None:
    """A skipped target of `forward` is hopeless; a skip of a mode is not listed while there are forwards."""
    asked = command_readiness(shown(plan(), forward(), skip(source="direct")))
    assert asked.missing == (f"service/dns port 53 is not forwarded: {skip().reason}",)
    assert asked.hopeless
    assert not command_readiness(shown(plan(settled=False), forward(), skip(source="direct"))).hopeless
    assert command_readiness(shown(plan(), forward(), skip())).ready
