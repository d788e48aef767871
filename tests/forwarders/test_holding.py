"""Connections that wait: what is shown of them, who is served first, what becomes of those that leave."""

from __future__ import annotations

import contextlib
import logging
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import cast

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from forwarders.backend import Backend, Dialled
from forwarders.backoff import LAST_PAUSE
from forwarders.holding import HeldDial, WaitingLine
from forwarders.spec import Counts, State
from forwarders.system.tcp import SocketWatcher
from forwarders.transports.sockets import RawSocket
from forwarders.tunnel import TunnelProtocol
from tests.forwarders.cluster import SPEC, endpoint, greeter, refusing
from tests.forwarders.peer import PeerStream
from tests.forwarders.test_fleet import Running, ask
from tests.support.sockets import reset

HOST = "127.0.0.1"
NOTHING_LISTENS = "nothing listens on 80 in pod a: connection refused"


@pytest.fixture
async def running(nursery: trio.Nursery) -> AsyncIterator[Running]:
    running = Running(nursery)
    async with trio.open_nursery() as inner:
        await inner.start(running.fleet.run)
        yield running
        inner.cancel_scope.cancel()
    nursery.cancel_scope.cancel()


OPENED: list[socket.socket] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Whatever a test leaves open is closed: a test that fails does not fail its neighbour."""
    yield
    while OPENED:
        OPENED.pop().close()


def client(port: int, data: bytes = b"") -> socket.socket:
    sock = socket.create_connection((HOST, port), timeout=5)
    OPENED.append(sock)
    sock.sendall(data)
    return sock


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - of the mock clock
            await trio.sleep(0.01)


def held(running: Running) -> int:
    return running.fleet.counters()["one"].held


def reason(running: Running) -> str:
    return [status for status in running.statuses if status.id == "one"][-1].reason


class Recorder:
    """An application that reads one message of each connection and answers; what it read, in order."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def __call__(self, stream: PeerStream) -> None:
        self.heard.append(await stream.receive_some())
        await greeter("a")(stream)


# What is shown


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


# Who is served


async def test_they_are_served_in_the_order_they_came(running: Running, autojump_clock: MockClock) -> None:
    """Through a pod that comes, a refusal, and redials: the first comes first."""
    app = Recorder()
    running.pods.apps["a"] = app
    port = await running.start()
    clients = []
    for number in range(30):
        clients.append(client(port, b"%d" % number))
        await trio.testing.wait_all_tasks_blocked()
    running.fleet.update("one", (endpoint("a"),))
    await trio.sleep(5)
    assert running.pods.payloads == [b"%d" % number for number in range(30)]
    assert sorted(app.heard) == sorted(running.pods.payloads)


async def test_a_late_application_hears_them_in_the_order_they_came(
    running: Running, autojump_clock: MockClock
) -> None:
    """Those that were refused keep their places, before those that came later."""
    app = Recorder()
    running.pods.apps["a"] = refusing
    port = await running.start(endpoint("a"))
    await running.until(State.READY)
    clients = []
    for number in range(20):
        clients.append(client(port, b"%d" % number))
        await trio.sleep(0.11)
    running.pods.apps["a"] = app
    running.pods.payloads.clear()
    began = trio.current_time()
    await until(lambda: len(app.heard) == 20)
    assert trio.current_time() - began <= 0.5
    assert running.pods.payloads == [b"%d" % number for number in range(20)]


# Who leaves


async def close(sock: socket.socket) -> None:
    sock.close()


async def reset_late(sock: socket.socket) -> None:
    reset(sock)


async def half_close_first(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)
    await trio.sleep(0.5)
    sock.close()


@pytest.mark.parametrize("leave", [close, reset_late, half_close_first])
@pytest.mark.parametrize("size", [0, 100, 3_000_000])
async def test_nothing_is_sent_of_a_client_that_left_while_it_waited(
    leave: Callable[[socket.socket], Awaitable[None]], size: int, running: Running, autojump_clock: MockClock
) -> None:
    """Its place is free at once, no pod is dialled for it, and the one behind it is served."""
    app = Recorder()
    running.pods.apps["a"] = app
    port = await running.start(spec=msgspec.structs.replace(SPEC, max_waiting=2))
    leaving = client(port)
    leaving.setblocking(False)  # noqa: FBT003 - the name of the standard library's only argument
    if size:
        leaving.send(bytes(size))
    await trio.testing.wait_all_tasks_blocked()
    staying = client(port, b"staying")
    await trio.sleep(0.2)
    assert held(running) == 2
    await leave(leaving)
    await trio.sleep(1.1)
    assert held(running) == 1
    running.fleet.update("one", (endpoint("a"),))
    await trio.sleep(1)
    assert app.heard == [b"staying"]
    assert staying.recv(1) == b"a"
    assert running.fleet.counters()["one"].errors == 0
    staying.close()


@pytest.mark.parametrize("leave", [close, reset_late])
@pytest.mark.parametrize("size", [0, 100])
async def test_a_client_that_leaves_frees_its_place_at_once(
    leave: Callable[[socket.socket], Awaitable[None]], size: int, running: Running, autojump_clock: MockClock
) -> None:
    """Even behind bytes that nobody has read."""
    port = await running.start()
    leaving = client(port, bytes(size))
    await trio.sleep(0.2)
    assert held(running) == 1
    await leave(leaving)
    await trio.sleep(0.05)
    assert held(running) == 0


class Room:
    """A backend with room for as many connections as `free` says; no endpoint is behind it."""

    def __init__(self) -> None:
        self.free = 0

    def own_session_comes(self) -> bool:
        return False

    def dial(self, waiting: int = 1) -> Dialled | float:
        if not self.free:
            return math.inf
        self.free -= 1
        return Dialled(endpoint("a"), cast(TunnelProtocol, None), recently_refused=False)


async def test_a_newcomer_does_not_overtake(nursery: trio.Nursery) -> None:
    """Room that is there before the first in the line has been woken is still the first one's."""
    backend, watcher = Room(), SocketWatcher()
    line = WaitingLine(SPEC, cast(Backend, backend), watcher, Counts(since=datetime.now(UTC)), str)
    served: list[str] = []

    async def take(name: str, local: socket.socket) -> None:
        await HeldDial(line, RawSocket(local)).next()
        served.append(name)

    with contextlib.closing(watcher), socket.create_server((HOST, 0)) as server:
        for name in ("first", "second"):
            client(server.getsockname()[1])
            accepted = server.accept()[0]
            OPENED.append(accepted)
            nursery.start_soon(take, name, accepted)
            await trio.testing.wait_all_tasks_blocked()
            backend.free = 1  # and nobody is told
        line.changed()
        await trio.testing.wait_all_tasks_blocked()
        assert served[0] == "first"
        backend.free = 1
        line.changed()
        await trio.testing.wait_all_tasks_blocked()
        assert served == ["first", "second"]


@pytest.mark.parametrize("size", [0, 100])
async def test_a_client_that_leaves_while_its_pod_refuses_is_not_sent(
    size: int, running: Running, autojump_clock: MockClock
) -> None:
    """Bytes that a refused dial has thrown away are not sent again for a client that is gone."""
    app = Recorder()
    running.pods.apps["a"] = refusing
    port = await running.start(endpoint("a"))
    await running.until(State.READY)
    leaving, staying = client(port, bytes(size)), client(port, b"staying")
    await trio.sleep(2)
    leaving.close()
    running.pods.apps["a"] = app
    await trio.sleep(1)
    assert app.heard == [b"staying"]
    staying.close()


async def test_a_client_that_leaves_in_the_grace_is_not_sent(running: Running, autojump_clock: MockClock) -> None:
    """It went after the dial that found the application, before its bytes were sent."""
    app = Recorder()
    running.pods.apps["a"] = refusing
    port = await running.start(endpoint("a"))
    await running.until(State.READY)
    leaving = client(port, b"leaving")
    await trio.sleep(0.2)
    dialled = trio.Event()

    async def listening(stream: PeerStream) -> None:
        dialled.set()
        await app(stream)

    running.pods.apps["a"] = listening
    await dialled.wait()
    leaving.close()
    await trio.sleep(1)
    assert app.heard in ([], [b""])
    assert held(running) == 0


async def test_a_client_that_only_ended_its_sending_is_served(running: Running, autojump_clock: MockClock) -> None:
    """A half-closed client waits for its answer, however long it takes."""
    app = Recorder()
    running.pods.apps["a"] = app
    port = await running.start()
    patient = client(port, b"question")
    patient.shutdown(socket.SHUT_WR)
    await trio.sleep(3)
    assert held(running) == 1
    running.fleet.update("one", (endpoint("a"),))
    await trio.sleep(1)
    assert (app.heard, patient.recv(1)) == ([b"question"], b"a")
    patient.close()


@pytest.mark.parametrize("by_reset", [True, False])
async def test_dead_connections_cost_no_dial(by_reset: bool, running: Running) -> None:  # noqa: FBT001
    """A thousand clients that connect and go, then an honest one: the pod hears of that one alone."""
    opened = 0

    async def counting(stream: PeerStream) -> None:
        nonlocal opened
        opened += 1
        await greeter("a")(stream)

    running.pods.apps["a"] = counting
    port = await running.start(endpoint("a"))
    await running.until(State.READY)
    for number in range(1000):
        sock = client(port)
        reset(sock) if by_reset else sock.close()
        if number % 50 == 0:  # the kernel's queue is no longer than that everywhere
            await trio.testing.wait_all_tasks_blocked()
    assert await ask(port) == b"a"
    assert opened == 1
    assert held(running) == 0


# A long way


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
