"""Attaching to a Skaffold in memory: before and after its start, through its end, its restart and its garbage."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.skaffold.peer import LAST_CHUNK, TAKEN, Peer, Port
from tests.skaffold.recorded import folded, raw
from watcher.skaffold.attachment import Attachment
from watcher.skaffold.state import SkaffoldFacts

BUILD = (
    b'{"result":{"timestamp":"2026-11-23T23:04:12Z","taskEvent":{"task":"Build","iteration":1,"status":"InProgress"}}}'
)
LOG = b'{"result":{"skaffoldLogEvent":{"message":"tick"}}}'


class Bench:
    """An attachment to a port in memory, and every state of its facts in order."""

    def __init__(self) -> None:
        self.port = Port()
        self.seen: list[SkaffoldFacts] = []
        self.attachment = Attachment("http://127.0.0.1:50051", self._changed, Random(1), self.port.dial)
        self._change = trio.Event()

    def _changed(self, before: SkaffoldFacts, now: SkaffoldFacts) -> None:
        assert self.attachment.facts is now
        assert (self.seen[-1] if self.seen else SkaffoldFacts()) is not now
        self.seen.append(now)
        self._change.set()
        self._change = trio.Event()

    async def until(self, attached: bool = True) -> SkaffoldFacts:  # noqa: FBT001, FBT002 - reads well in a test
        while self.attachment.facts.attached is not attached:
            await self._change.wait()
        return self.attachment.facts


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    at_work = Bench()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(at_work.attachment.run)
        yield at_work
        nursery.cancel_scope.cancel()


async def replaying(at_work: Bench, name: str) -> Peer:
    at_work.port.is_open = True
    peer = await at_work.port.accept()
    await peer.replay(*raw(name).splitlines())
    return peer


async def test_attached_after_start(autojump_clock: MockClock) -> None:
    """A replay becomes one change of the facts: nothing of the past is shown as if it were now."""
    async with bench() as at_work:
        await replaying(at_work, "dev-configedit2")
        facts = await at_work.until()
    expected = folded("dev-configedit2").facts
    assert (facts.run_id, facts.deploys, facts.own_forwards) == (
        expected.run_id,
        expected.deploys,
        expected.own_forwards,
    )
    assert [state.run_id for state in at_work.seen if state.attached] == [expected.run_id]


async def test_the_request(autojump_clock: MockClock) -> None:
    """One GET of /v2/events, and nothing else of a stream."""
    async with bench() as at_work:
        peer = await replaying(at_work, "dev-first")
        await at_work.until()
    head = peer.request.decode().split("\r\n")
    assert head[0] == "GET /v2/events HTTP/1.1"
    assert "Host: 127.0.0.1:50051" in head
    assert set(at_work.port.attempts) == {0.0}


async def test_attached_before_start(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """Without a Skaffold it goes on trying, says so once, and shows why it is not attached."""
    async with bench() as at_work:
        await trio.sleep(20)
        assert at_work.attachment.facts == SkaffoldFacts(problem=at_work.attachment.facts.problem)
        assert "http://127.0.0.1:50051" in at_work.attachment.facts.problem
        peer = await replaying(at_work, "dev-first")
        facts = await at_work.until()
        await peer.break_off()
    gaps = [b - a for a, b in zip(at_work.port.attempts, at_work.port.attempts[1:], strict=False)]
    assert 0.05 <= gaps[0] <= 0.15
    assert max(gaps) <= 1.5
    assert (facts.attached, facts.problem) == (True, "")
    assert sum("no Skaffold answers" in message for message in caplog.messages) == 1


async def test_a_skaffold_that_starts_in_a_moment_is_not_missed_aloud(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Under `run` Skaffold needs some tenths of a second to open its port; that is no news."""
    async with bench() as at_work:
        await trio.sleep(0.4)
        await replaying(at_work, "dev-first")
        await at_work.until()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_live_events_are_shown_at_once(autojump_clock: MockClock) -> None:
    """Once the replay is over every event counts the moment it comes."""
    async with bench() as at_work:
        peer = await replaying(at_work, "dev-first")
        await at_work.until()
        before = trio.current_time()
        await peer.say(BUILD.replace(b"23:04:12Z", b"23:59:00Z"))
        await wait_all_tasks_blocked()
        assert at_work.attachment.facts.phase == "building"
        assert trio.current_time() == before


async def test_log_lines_change_nothing(autojump_clock: MockClock) -> None:
    """Log events wake nobody."""
    async with bench() as at_work:
        peer = await replaying(at_work, "dev-first")
        await at_work.until()
        count = len(at_work.seen)
        await peer.say(*[LOG] * 50)
        await wait_all_tasks_blocked()
        assert len(at_work.seen) == count


async def test_nothing_is_shown_before_the_replay_is_over(autojump_clock: MockClock) -> None:
    """However long it takes, and though live events come all the while."""
    async with bench() as at_work:
        at_work.port.is_open = True
        peer = await at_work.port.accept()
        for line in raw("dev-first").splitlines():
            await peer.say(LOG, line)
            await trio.sleep(0.5)
            assert not at_work.attachment.facts.attached
        await peer.replay()
        assert (await at_work.until()).run_id == folded("dev-first").facts.run_id


async def test_a_stream_that_stops_skaffold_is_left_for_another(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of it is shown, nobody is bothered, and the next one is like any other."""
    async with bench() as at_work:
        at_work.port.echoes = False
        peer = await replaying(at_work, "dev-first")
        await peer.fin()
        at_work.port.echoes = True
        await peer.break_off()
        await replaying(at_work, "dev-first")
        assert (await at_work.until()).run_id
    assert [state.attached for state in at_work.seen if not state.problem] == [True]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("politely", [True, False])
async def test_skaffold_ends(autojump_clock: MockClock, politely: object) -> None:
    """What was deployed stays known; what only a living Skaffold does or holds is gone, and nobody waits to leave."""
    async with bench() as at_work:
        peer = await replaying(at_work, "run-pf")
        assert (await at_work.until()).own_forwards
        at_work.port.is_open = False
        before = trio.current_time()
        if politely:
            await peer.stream.send_all(LAST_CHUNK)
        await peer.break_off()
        facts = await at_work.until(attached=False)
        assert trio.current_time() == before
    expected = folded("run-pf").facts
    assert (facts.run_id, facts.deployed, facts.artifacts) == (expected.run_id, True, expected.artifacts)
    assert (facts.own_forwards, facts.phase) == ({}, "")
    assert facts.problem


async def test_a_short_life_is_not_lost(autojump_clock: MockClock) -> None:
    """A `skaffold deploy` that ends before its replay was heard out has still told what it deployed."""
    async with bench() as at_work:
        at_work.port.is_open = True
        peer = await at_work.port.accept()
        await peer.say(*raw("deploy").splitlines())
        await wait_all_tasks_blocked()
        await peer.break_off()
        await at_work.until(attached=False)
        await wait_all_tasks_blocked()
        assert at_work.attachment.facts.run_id == folded("deploy").facts.run_id
        assert at_work.attachment.facts.deployed


async def test_a_stream_without_an_answer_is_left_and_requested_again(autojump_clock: MockClock) -> None:
    """A Skaffold that accepts a probe and then does not even send the head of its answer was stopped meanwhile."""
    async with bench() as at_work:
        at_work.port.is_open, at_work.port.echoes = True, False
        silent = await at_work.port.accept()
        with trio.fail_after(120):
            await silent.fin()
        await silent.break_off()
        at_work.port.echoes = True
        await (await at_work.port.accept()).replay(*raw("dev-first").splitlines())
        assert (await at_work.until()).run_id
        assert any("stands still" in facts.problem for facts in at_work.seen)


async def test_restart_on_the_same_port(autojump_clock: MockClock) -> None:
    """Another Skaffold's stream starts from nothing, and the old facts stand until the new ones do."""
    async with bench() as at_work:
        peer = await replaying(at_work, "dev-redeploy")
        first = await at_work.until()
        await peer.break_off()
        lost = await at_work.until(attached=False)
        assert lost.run_id == first.run_id
        await replaying(at_work, "dev-sigterm")
        second = await at_work.until()
    expected = folded("dev-sigterm").facts
    assert (second.run_id, second.deploys, second.own_forwards) == (expected.run_id, 1, expected.own_forwards)
    assert (first.connections, second.connections) == (1, 2)
    assert {state.run_id for state in at_work.seen} <= {"", first.run_id, second.run_id}


async def test_garbage_is_survived_and_said_once(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """Lines that are no events do not end the attachment, and their content is logged nowhere."""
    async with bench() as at_work:
        peer = await replaying(at_work, "dev-first")
        await peer.say(b"TOKEN=hunter2 {", b"[]", b'{"result": hunter2}')
        await at_work.until()
        await peer.say(b"hunter2", BUILD.replace(b"23:04:12Z", b"23:59:00Z"))
        await wait_all_tasks_blocked()
        assert at_work.attachment.facts.phase == "building"
    assert "hunter2" not in caplog.text
    assert sum("no event" in message for message in caplog.messages) == 1


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b"\x00" * 20]
)
@pytest.mark.parametrize("takes_probes", [True, False])
async def test_something_else_answers(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, answer: bytes, takes_probes: object
) -> None:
    """Another server at the address is named as such, once, and tried again; it has no replay to be heard out."""
    async with bench() as at_work:
        at_work.port.is_open = True
        if not takes_probes:
            at_work.port.answer = answer
            await trio.sleep(5)
        for _ in range(3 if takes_probes else 0):
            peer = await at_work.port.accept()
            await peer.stream.send_all(answer)
            await peer.fin()
            await peer.break_off()
        await wait_all_tasks_blocked()
        facts = at_work.attachment.facts
    assert not facts.attached
    assert "not Skaffold's event API" in facts.problem
    assert sum("not Skaffold's event API" in message for message in caplog.messages) == 1
    assert trio.current_time() <= 5


@pytest.mark.parametrize("asked_for", ["probes", "stream"])
async def test_a_server_that_hangs_up_is_tried_again(autojump_clock: MockClock, asked_for: str) -> None:
    """A connection that closes before any answer counts as an end, not as a failure of ours."""
    async with bench() as at_work:
        at_work.port.is_open = True
        if asked_for == "probes":
            at_work.port.answer = b""
            await trio.sleep(3)
            at_work.port.answer = TAKEN
        else:
            for _ in range(3):
                peer = await at_work.port.accept()
                await peer.break_off()
        await replaying(at_work, "dev-first")
        assert (await at_work.until()).run_id
