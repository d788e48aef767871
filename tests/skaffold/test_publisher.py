"""Telling Skaffold of our forwards: each once an occasion, none while it is away, and nothing that harms."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import h11
import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from forwarders.backoff import Backoff
from tests.board import made
from watcher.cli.skaffold_source import reported_forward
from watcher.skaffold.events import EventDecoder, PortEvent
from watcher.skaffold.port_events import Occasion, PostedForward, PublishedState, Publisher, due, own_forward
from watcher.skaffold.state import SkaffoldFacts

WEB = PostedForward(
    resource_type="service",
    resource_name="web",
    namespace="default",
    container_name="",
    target_port=8080,
    address="127.0.0.1",
    local_port=8080,
)
THERE = SkaffoldFacts(attached=True, connections=1)
DEBUGGED = Path(__file__).parents[2] / "fixtures" / "streams" / "debug.v2.jsonl"


def as_json(forward: PostedForward) -> dict[str, Any]:
    """The event as it is sent."""
    event: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(forward.event))
    return event


def test_each_forward_is_told_once_an_occasion() -> None:
    """Again after a deploy and on a new stream: Skaffold forgets then."""
    told, new = due(PublishedState(), THERE.occasion, [WEB])
    assert new == (WEB,)
    assert due(told, THERE.occasion, [WEB])[1] == ()
    for later in (replace(THERE, deploys=1), replace(THERE, connections=2)):
        assert due(told, later.occasion, [WEB])[1] == (WEB,)
    moved = replace(WEB, local_port=8081)
    assert due(told, THERE.occasion, [WEB, moved])[1] == (moved,)


forwards = st.lists(st.builds(lambda n: replace(WEB, local_port=n), st.integers(1, 5)), max_size=6)
facts = st.builds(
    SkaffoldFacts, attached=st.booleans(), connections=st.integers(1, 2), deploys=st.integers(0, 2)
)  # fmt: skip


@given(st.lists(st.tuples(facts, forwards), max_size=8))
def test_skaffold_knows_what_it_was_told_and_nothing_twice(
    steps: list[tuple[SkaffoldFacts, list[PostedForward]]],
) -> None:
    """Whatever the history: an attached Skaffold knows all forwards of now; what it knows is not told."""
    told = PublishedState()
    for now, there in steps:
        before = told
        told, new = due(told, now.occasion, there)
        if not now.attached:
            assert (told, new) == (before, ())
            continue
        assert set(there) <= told.forwards
        assert len(new) == len(set(new))
        if before.occasion == told.occasion:
            assert not before.forwards & set(new)


@pytest.mark.parametrize("port", [8080, "http"])
def test_our_own_echo_is_not_skaffolds(port: int | str) -> None:
    """It comes back on the stream with the id that it was posted with."""
    posted = as_json(replace(WEB, target_port=port))
    line = json.dumps({"result": {"timestamp": "2026-11-23T23:11:28.4Z", **posted}}).encode() + b"\n"
    [event] = EventDecoder().feed(line)
    assert isinstance(event.body, PortEvent)
    assert event.body.target_port is not None
    assert event.body.target_port.value == port
    assert event.at is not None
    assert own_forward(event.body, event.at) is None


class Api:
    """A Skaffold that takes events, or refuses them with a status of 500."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.status = 200
        self.headers: list[tuple[str, str]] = []
        self.arrived = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        http = h11.Connection(h11.SERVER)
        async with stream:
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    http.receive_data(await stream.receive_some())
                elif isinstance(event, h11.Data):
                    self.bodies.append(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    head = http.send(
                        h11.Response(status_code=self.status, headers=[("Content-Length", "2"), *self.headers])
                    )
                    await stream.send_all((head or b"") + b"{}")
                    self.arrived.set()
                    self.arrived = trio.Event()
                    return
                elif isinstance(event, h11.ConnectionClosed):
                    return


async def test_what_was_refused_is_told_again(nursery: trio.Nursery) -> None:
    """After a pause, without any change; nothing is lost and nothing is told twice."""
    api = Api()
    api.status = 500
    listeners = await nursery.start(trio.serve_tcp, api.serve, 0)
    port = listeners[0].socket.getsockname()[1]
    pauses = Backoff(Random(0), 0.001, 0.001)
    publisher = Publisher(f"http://127.0.0.1:{port}", lambda: THERE.occasion, lambda: [WEB], pauses)
    nursery.start_soon(publisher.run)
    with trio.fail_after(60):
        publisher.touch()
        for expected in (1, 2):
            while len(api.bodies) < expected:
                await api.arrived.wait()
        api.status = 200
        while pauses.failures:
            await api.arrived.wait()
            await trio.testing.wait_all_tasks_blocked(0.05)
        told = len(api.bodies)
        publisher.touch()
        await trio.testing.wait_all_tasks_blocked(0.05)
    assert [json.loads(each) for each in api.bodies] == [WEB.event] * told
    nursery.cancel_scope.cancel()


async def test_an_answer_is_not_unpacked(nursery: trio.Nursery) -> None:
    """Some kB of `gzip, gzip` would become gigabytes; who looks at nothing but the status needs none of it."""
    api = Api()
    api.headers = [("Content-Encoding", "gzip, gzip")]
    listeners = await nursery.start(trio.serve_tcp, api.serve, 0)
    pauses = Backoff(Random(0), 0.001, 0.001)
    url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    publisher = Publisher(url, lambda: THERE.occasion, lambda: [WEB], pauses)
    with trio.fail_after(60):
        assert await publisher._post([WEB])
    assert [json.loads(each) for each in api.bodies] == [WEB.event]
    nursery.cancel_scope.cancel()


async def test_nobody_is_told_while_skaffold_is_away(nursery: trio.Nursery) -> None:
    """What did not arrive is not tried for ever: not once that Skaffold has gone."""
    api = Api()
    api.status = 500
    there = True
    listeners = await nursery.start(trio.serve_tcp, api.serve, 0)
    port = listeners[0].socket.getsockname()[1]

    def occasion() -> Occasion | None:
        return replace(THERE, attached=there).occasion

    publisher = Publisher(f"http://127.0.0.1:{port}", occasion, lambda: [WEB], Backoff(Random(0), 0.001, 0.001))
    nursery.start_soon(publisher.run)
    with trio.fail_after(60):
        publisher.touch()
        await api.arrived.wait()
        there = False
        await trio.testing.wait_all_tasks_blocked(0.05)
        tried = len(api.bodies)
        publisher.touch()
        await trio.testing.wait_all_tasks_blocked(0.05)
    assert len(api.bodies) == tried
    nursery.cancel_scope.cancel()


def test_a_debug_port_is_told_as_skaffold_tells_it() -> None:
    """As it did of its own in a recorded run, but for the id and the task, which say that it is ours."""
    events = [json.loads(line)["result"] for line in DEBUGGED.read_text().splitlines() if "portEvent" in line]
    [theirs] = [event["portEvent"] for event in events if event["portEvent"]["resourceType"] == "pod"]
    record = made.forward(
        source="debug",
        resource_type="deployment",
        resource_name="app",
        namespace=theirs["namespace"],
        container="app",
        port_name="jdwp",
        pod=theirs["podName"],
        remote_port=5005,
        local_port=5005,
    )
    ours = as_json(reported_forward(record))["portEvent"]
    for event, port in ((ours, ours["targetPort"]), (theirs, theirs["targetPort"])):
        event["targetPort"] = port["intVal"]
        del event["id"]
    theirs.pop("task_id", None)
    assert ours == theirs
    other = reported_forward(replace(record, pod="another"))
    assert due(due(PublishedState(), THERE.occasion, [reported_forward(record)])[0], THERE.occasion, [other])[1] == (
        other,
    )
