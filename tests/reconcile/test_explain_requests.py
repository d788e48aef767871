"""`explain`: what no mode looks at is watched for the answer, and a while longer."""

from __future__ import annotations

from random import Random
from typing import NoReturn

import pytest
import trio
import trio.testing

from forwarders.fleet import Fleet
from forwarders.spec import PodRef
from forwarders.transports.api_server import ClusterRoute
from tests.plan.made import service
from watcher.board.board import Board
from watcher.board.records import ExplainRecord
from watcher.cluster.kinds import SERVICE, Resource
from watcher.cluster.store import Problem, Snapshot, Watch, key_of
from watcher.loop import EXPLAIN_FOR, LISTED_WITHIN, Loop
from watcher.plan.facts import Facts
from watcher.skaffold.modes import Mode


async def no_session(_: PodRef) -> NoReturn:
    raise AssertionError("nothing is forwarded here")


class Cluster:
    """What the loop wants watched, and what the test says of it."""

    def __init__(self) -> None:
        self.wanted: frozenset[Watch] = frozenset()
        self.snapshot = Snapshot()
        self.board = Board()
        self.loop = Loop(self.facts, self.want, self.board)

    def facts(self) -> Facts:
        return Facts(modes=frozenset({Mode.USER}), run_id="run-1", cluster=self.snapshot)

    def want(self, watches: frozenset[Watch]) -> None:
        self.wanted = watches

    def list_all(self) -> None:
        _, item = service()
        assert isinstance(item, Resource)
        found = {watch: {key_of(item): item} if watch.kind == SERVICE else {} for watch in self.wanted}
        self.snapshot = Snapshot(found)
        self.loop.touch()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        fleet = Fleet({"": ClusterRoute(no_session)}.__getitem__, Random(0), self.loop.report)
        async with trio.open_nursery() as nursery:
            await nursery.start(fleet.run)
            await self.loop.plan_once(fleet)
            task_status.started()
            await self.loop.run(fleet)


@pytest.fixture
async def cluster(nursery: trio.Nursery) -> Cluster:
    made = Cluster()
    await nursery.start(made.run)
    return made


def verdicts(records: list[ExplainRecord]) -> list[tuple[str, bool, str]]:
    return [(record.resource_name, record.forwarded, record.rule) for record in records]


async def test_the_answer_waits_for_the_lists(
    cluster: Cluster, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """It is about everything then, also where no mode is on for it; nobody who waits for readiness notices."""
    answers: list[list[ExplainRecord]] = []

    async def ask() -> None:
        answers.append(await cluster.loop.explained())

    assert cluster.wanted == frozenset()
    nursery.start_soon(ask)
    await trio.testing.wait_all_tasks_blocked()
    assert SERVICE in {watch.kind for watch in cluster.wanted}
    assert (answers, cluster.board.settled) == ([], True)
    cluster.list_all()
    await trio.testing.wait_all_tasks_blocked()
    [answer] = answers
    assert verdicts(answer) == [("web", False, "mode services is off")]


async def test_what_cannot_be_listed_is_not_waited_for_long(
    cluster: Cluster, autojump_clock: trio.testing.MockClock
) -> None:
    """Who asks gets what there is: at once where it is refused, else within seconds."""
    began = trio.current_time()
    assert await cluster.loop.explained() == []
    assert trio.current_time() - began == pytest.approx(LISTED_WITHIN)
    everywhere = cluster.wanted
    cluster.snapshot = Snapshot({}, {watch: Problem("it is forbidden", forbidden=True) for watch in everywhere})
    cluster.loop.touch()
    await trio.testing.wait_all_tasks_blocked()
    in_place = cluster.wanted - everywhere
    problems = {watch: Problem("it is forbidden", forbidden=True) for watch in everywhere | in_place}
    cluster.snapshot = Snapshot({}, problems)
    cluster.loop.touch()
    began = trio.current_time()
    assert await cluster.loop.explained() == []
    assert trio.current_time() == began


async def test_its_watches_end(cluster: Cluster, autojump_clock: trio.testing.MockClock) -> None:
    """A minute after the last question only what is needed is watched; each question prolongs it."""
    await cluster.loop.explained()
    cluster.list_all()
    await trio.sleep(EXPLAIN_FOR / 2)
    await cluster.loop.explained()
    await trio.sleep(EXPLAIN_FOR - 1)
    assert cluster.wanted
    await trio.sleep(2)
    assert cluster.wanted == frozenset()
