"""Clients that leave while they wait: their place is free, and nothing of them reaches a pod."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from forwarders.spec import State
from forwarders.system.tcp import SocketWatcher
from tests.forwarders.cluster import SPEC, endpoint, greeter, refusing
from tests.forwarders.peer import PeerStream
from tests.forwarders.running import Running, ask
from tests.forwarders.waiting import Recorder, client, held
from tests.support.sockets import reset


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


@pytest.mark.parametrize("leave", [close, reset_late])
async def test_a_client_that_leaves_without_a_sign_frees_its_place_within_a_second(
    leave: Callable[[socket.socket], Awaitable[None]],
    running: Running,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel has no room for another watch: each client is asked."""
    monkeypatch.setattr(SocketWatcher, "watch_disconnect", lambda *_: False)
    port = await running.start()
    leaving = client(port, b"leaving")
    await trio.sleep(2)
    assert held(running) == 1
    await leave(leaving)
    await trio.sleep(1)
    assert held(running) == 0


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
