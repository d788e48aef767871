"""Connections that wait: what is shown of them, and how often the pod that refuses them is dialled."""

from __future__ import annotations

import logging
import sys

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from forwarders.backoff import LAST_PAUSE
from forwarders.spec import State
from tests.forwarders.cluster import SPEC, endpoint, greeter, refusing
from tests.forwarders.peer import PeerStream
from tests.forwarders.running import Running, ask
from tests.forwarders.waiting import NOTHING_LISTENS, Recorder, client, held, reason, until
from tests.support.sockets import reset


async def test_what_the_runtime_said_is_shown_with_how_many_wait(
    running: Running, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Within two seconds the forward says what was refused and for how many; it follows their number down."""
    running.pods.apps["a"] = refusing
    port = await running.start(endpoint("a"))
    await running.until(State.READY)
    clients = [client(port, b"hello") for _ in range(3)]
    await trio.sleep(2)
    assert (running.statuses[-1].state, reason(running)) == (State.READY, f"{NOTHING_LISTENS}; 3 connections wait")
    clients[1].close()
    reset(clients[0])
    await trio.sleep(2)
    assert reason(running) == f"{NOTHING_LISTENS}; 1 connection waits"
    assert caplog.text.count(NOTHING_LISTENS) == 1
    running.pods.apps["a"] = greeter("a")
    await trio.sleep(1)
    assert (running.statuses[-1].state, reason(running)) == (State.READY, "")
    assert clients[2].recv(1) == b"a"
    clients[2].close()
    assert running.fleet.counters()["one"].errors == 0


async def test_a_port_that_refused_is_still_shown_when_nobody_waits_and_is_not_dialled(
    running: Running, autojump_clock: MockClock
) -> None:
    """What the runtime said last stays true until a connection gets through; without one the pod is left alone."""
    dials = 0

    async def counting(stream: PeerStream) -> None:
        nonlocal dials
        dials += 1
        await refusing(stream)

    running.pods.apps["a"] = counting
    port = await running.start(endpoint("a"))
    await running.until(State.READY)
    client(port).close()
    hasty = client(port, b"x")
    await trio.sleep(0.2)
    hasty.close()
    await trio.sleep(3)
    assert (reason(running), held(running)) == (NOTHING_LISTENS, 0)
    before = dials
    await trio.sleep(60)
    assert dials == before
    running.pods.apps["a"] = greeter("a")
    assert await ask(port) == b"a"
    assert reason(running) == ""


@pytest.mark.parametrize("count", [1, 100])
async def test_a_port_that_refuses_is_dialled_rarely_however_many_wait(
    running: Running, autojump_clock: MockClock, count: int
) -> None:
    """In a minute 55 times at most for one and for a hundred; at once when the pod becomes Ready."""
    dials: list[float] = []

    async def counting(stream: PeerStream) -> None:
        dials.append(trio.current_time())
        await refusing(stream)

    running.pods.apps["a"] = counting
    port = await running.start(endpoint("a", ready=False), spec=msgspec.structs.replace(SPEC, hold=120.0))
    await running.until(State.READY)
    clients = [client(port, b"hello") for _ in range(count)]
    began = trio.current_time()
    await trio.sleep(60)
    assert held(running) == count
    assert len([at for at in dials if at <= began + 60]) <= 55
    running.pods.apps["a"] = greeter("a")
    changed = trio.current_time()
    running.fleet.update("one", (endpoint("a"),))
    await until(lambda: held(running) == 0)
    assert trio.current_time() <= changed + 0.5
    for one in clients:
        assert one.recv(1) == b"a"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each client is asked whether it has left")
async def test_a_hundred_that_wait_cost_no_more_steps_than_one(running: Running, autojump_clock: MockClock) -> None:
    """Nobody wakes a connection that waits while nothing happens."""
    port = await running.start(spec=msgspec.structs.replace(SPEC, hold=60.0))
    steps = []
    for count in (1, 99):
        for _ in range(count):
            client(port, b"hello")
        await trio.sleep(2)
        counter = StepCounter()
        trio.lowlevel.add_instrument(counter)
        await trio.sleep(10)
        trio.lowlevel.remove_instrument(counter)
        steps.append(counter.steps)
    assert held(running) == 100
    assert steps[1] == steps[0] <= 30


class StepCounter(trio.abc.Instrument):
    def __init__(self) -> None:
        self.steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1


async def test_a_connection_that_is_given_up_has_the_runtimes_words(
    running: Running, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It counts as an error, and the last error says what was refused."""
    running.pods.apps["a"] = refusing
    port = await running.start(endpoint("a"), spec=msgspec.structs.replace(SPEC, hold=3.0))
    await running.until(State.READY)
    with pytest.raises(trio.BrokenResourceError):
        await ask(port)
    await trio.testing.wait_all_tasks_blocked()
    counts = running.fleet.counters()["one"]
    assert (counts.errors, counts.last_error) == (1, f"a connection was given up after 3 s: {NOTHING_LISTENS}")
    assert counts.last_error in caplog.text


@pytest.mark.parametrize(
    ("waiting_for", "failure", "shown"),
    [
        ("no pod of service/web is ready", "", "no pod of service/web is ready"),
        ("", "the API server cannot be reached: refused", "the API server cannot be reached: refused"),
    ],
)
async def test_whatever_else_they_wait_for_is_shown_with_their_number(
    waiting_for: str, failure: str, shown: str, running: Running, autojump_clock: MockClock
) -> None:
    """No pod, no session: the state is listening, the reason says why and for how many."""
    running.pods.failure = failure
    endpoints = (endpoint("a"),) if failure else ()
    port = await running.start(*endpoints, waiting_for=waiting_for)
    clients = [client(port) for _ in range(2)]
    await trio.sleep(2)
    assert (running.statuses[-1].state, reason(running)) == (State.LISTENING, f"{shown}; 2 connections wait")
    for one in clients:
        one.close()
    await trio.sleep(2)
    assert reason(running) == shown


async def test_a_pod_that_has_no_room_is_shown(
    running: Running, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Where every session is full and no further one can be opened, that is the reason."""
    caplog.set_level(logging.INFO)

    async def silent(stream: PeerStream) -> None:
        await stream.receive_some()

    running.pods.apps["a"] = silent
    port = await running.start(endpoint("a"))
    await running.until(State.READY)
    running.pods.failure = "no further session"
    for _ in range(12):
        client(port, b"x")
    await trio.sleep(2)
    assert held(running) > 0
    assert reason(running).startswith("every session to pod a is in use; ")
    assert caplog.text.count("every session to pod a is in use") == 1


@pytest.mark.parametrize("round_trip", [0.05, 0.25, 1.0])
async def test_a_refusing_pod_is_not_called_good_over_a_long_way(
    round_trip: float, running: Running, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """However long the answer takes: no bytes go to a port that has refused, and it is not dialled by all at once."""
    running.pods.round_trip = round_trip
    streams: list[PeerStream] = []

    async def counting(stream: PeerStream) -> None:
        streams.append(stream)
        await refusing(stream)

    running.pods.apps["a"] = counting
    port = await running.start(endpoint("a"), spec=msgspec.structs.replace(SPEC, hold=60.0))
    await running.until(State.READY)
    clients = [client(port, b"request")]
    await trio.sleep(2 + 2 * round_trip)
    clients += [client(port, b"request") for _ in range(9)]
    first, begin = len(streams), trio.current_time()
    await trio.sleep(10)
    assert reason(running) == f"{NOTHING_LISTENS}; 10 connections wait"
    assert 4 <= len(streams) - first <= 41
    assert sum(peer.thrown_away for peer in running.pods.peers["a"]) <= 1
    app = Recorder()
    running.pods.apps["a"] = app
    began = trio.current_time()
    await until(lambda: len(app.heard) == 10)
    assert trio.current_time() - began <= LAST_PAUSE + 0.2 + 3 * round_trip
    assert begin < began
    for one in clients:
        one.close()
