"""Checks run at once, each with its deadline; one failure affects no other; the order is fixed."""

from __future__ import annotations

from collections.abc import Iterable

import trio
from trio.testing import MockClock

from watcher.doctor import Check, Finding, Prerequisite, examine, failed, note, ok, warning
from watcher.errors import WatcherError


async def fine() -> Iterable[Finding]:
    return [ok("fine"), warning("not so fine", "mend it")]


async def slow() -> Iterable[Finding]:
    await trio.sleep(4)
    return [note("slow")]


async def hanging() -> Iterable[Finding]:
    await trio.sleep_forever()
    raise AssertionError("it hangs")


async def broken() -> Iterable[Finding]:
    raise ZeroDivisionError("a mistake")


async def refusing() -> Iterable[Finding]:
    raise WatcherError("what is wrong, and what to do")


async def test_each_fails_alone_and_all_keep_their_place(autojump_clock: MockClock) -> None:
    """A check that hangs ends at its own deadline, and one with a bug reports it."""
    checks = [Check(run.__name__, run, 5.0) for run in (hanging, slow, broken, fine, refusing)]
    began = trio.current_time()
    found = await examine(checks)
    assert trio.current_time() - began == 5.0
    assert [(finding.check, finding.level) for finding in found] == [
        ("hanging", "error"),
        ("slow", "note"),
        ("broken", "error"),
        ("fine", "ok"),
        ("fine", "warning"),
        ("refusing", "error"),
    ]
    assert found[0].found == "no answer within 5 s"
    assert "ZeroDivisionError: a mistake" in found[2].found
    assert found[5].found == "what is wrong, and what to do"


def test_only_an_error_fails() -> None:
    """Only an error counts as a failure; notes and warnings do not."""
    assert not failed([ok("a"), note("b"), warning("c", "d")])
    assert failed([ok("a"), Finding(level="error", found="e")])


async def test_what_several_stand_on_is_found_once(autojump_clock: MockClock) -> None:
    """A prerequisite is computed once; other checks wait for it."""
    asked = []

    async def find() -> str:
        asked.append(1)
        await trio.sleep(1)
        return "it"

    once = Prerequisite(find, "something", 5.0)
    got = []

    async def use() -> None:
        got.append(await once.given())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(use)
    assert (got, asked) == (["it"] * 3, [1])


async def test_its_failure_is_said_once(autojump_clock: MockClock) -> None:
    """One check reports a prerequisite's failure; the others say that they need it."""
    once: Prerequisite[str] = Prerequisite(hang, "a thing that hangs", 5.0)

    async def own() -> Iterable[Finding]:
        return [ok(await once())]

    async def other() -> Iterable[Finding]:
        return [ok(await once.given())]

    found = await examine([Check("own", own, 60.0), Check("other", other, 60.0)])
    assert [(finding.level, finding.found) for finding in found] == [
        ("error", "a thing that hangs: no answer within 5 s"),
        ("note", "not checked: a thing that hangs is needed for it"),
    ]


async def hang() -> str:
    await trio.sleep_forever()
    raise AssertionError("it hangs")
