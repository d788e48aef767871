"""Connections through a fleet's forwards: which pod answers, which are held, refused and counted."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
import trio
import trio.testing

from forwarders.spec import State
from tests.forwarders.cluster import SPEC, endpoint, greeter, refusing
from tests.forwarders.peer import PeerStream
from tests.forwarders.running import Running, ask
from tests.support.sockets import reset


@pytest.fixture
def running(running: Running) -> Running:
    running.pods.apps = {name: greeter(name) for name in ("a", "b", "c")}
    return running


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(60):
        while not condition():
            await trio.testing.wait_all_tasks_blocked(0.01)


@contextlib.asynccontextmanager
async def twenty_that_wait(port: int, seconds: float) -> AsyncIterator[None]:
    """Twenty connections that have no answer after `seconds`; after the block each gets pod a's."""
    answers: list[bytes] = []

    async def collect() -> None:
        answers.append(await ask(port))

    async with trio.open_nursery() as clients:
        for _ in range(20):
            clients.start_soon(collect)
        await trio.sleep(seconds)
        assert answers == []
        yield
    assert answers == [b"a"] * 20


async def test_connections_follow_the_pods(running: Running) -> None:
    """Each connection goes to the pod that serves now; an established one stays where it is."""
    port = await running.start(endpoint("a"))

    async def echo(stream: PeerStream) -> None:
        while data := await stream.receive_some():
            await stream.send_all(data)

    running.pods.apps["a"] = echo
    async with await trio.open_tcp_stream("127.0.0.1", port) as established:
        await established.send_all(b"one")
        assert await established.receive_some() == b"one"
        running.fleet.update("one", (endpoint("b"),))
        assert await ask(port) == b"b"
        await established.send_all(b"two")
        assert await established.receive_some() == b"two"
    assert await ask(port) == b"b"


async def test_both_loopbacks(running: Running) -> None:
    """A client that tries ::1 first gets there."""
    port = await running.start(endpoint("a"))
    try:
        assert await ask(port, "::1") == b"a"
    except OSError:
        with pytest.raises(OSError, match=r"."), socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass


async def test_held_until_a_pod_can_serve(running: Running, nursery: trio.Nursery) -> None:
    """Connections that come while nothing can serve get their answer once something can."""
    async with twenty_that_wait(await running.start(), 0.1):
        running.fleet.update("one", (endpoint("a"),))


async def test_held_while_the_application_does_not_listen(running: Running) -> None:
    """Refused connections are dialled again until the application is there: nobody sees its restart."""
    running.pods.apps["a"] = refusing
    async with twenty_that_wait(await running.start(endpoint("a")), 0.5):
        running.pods.apps["a"] = greeter("a")


async def test_the_hold_time_ends(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    """A connection that nothing can serve in time is reset, and the log says why."""
    port = await running.start(spec=msgspec.structs.replace(SPEC, hold=0.2), waiting_for="no pod of this service")
    with pytest.raises(trio.BrokenResourceError):
        await ask(port)
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert "no pod of this service" in caplog.text


async def test_no_more_are_held_than_the_bound(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    """One connection too many is refused at once; those that are held stay, and are served."""
    port = await running.start(spec=msgspec.structs.replace(SPEC, max_waiting=2))
    clients = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(2)]
    await trio.testing.wait_all_tasks_blocked(0.05)
    with pytest.raises(trio.BrokenResourceError):
        await ask(port)
    running.fleet.update("one", (endpoint("a"),))
    for client in clients:
        async with client:
            assert await client.receive_some() == b"a"
    assert "2 connections wait already" in caplog.text


async def test_one_connections_error_is_its_own(running: Running) -> None:
    """Refusals, resets and errors on one connection leave its siblings, its session and its forward alone."""
    port = await running.start(endpoint("a"))
    turn = iter(range(1000))

    async def moody(stream: PeerStream) -> None:
        match next(turn) % 4:
            case 0:
                stream.refuse("error forwarding: reset by peer")
            case 1:
                stream.reset()
            case _:
                await greeter("a")(stream)

    running.pods.apps["a"] = moody
    good = 0
    for _ in range(40):
        with contextlib.suppress(trio.BrokenResourceError):
            good += await ask(port) == b"a"
    assert good == 20
    assert running.states() == [State.LISTENING, State.READY]


async def test_a_client_that_is_gone_before_it_is_accepted(running: Running) -> None:
    """Connections that were reset in the queue end nothing else."""
    port = await running.start(endpoint("a"))
    with running.fleet.confirming("one", 1, lambda: None):  # a test of the forward looks at each client's address
        for _ in range(50):
            reset(socket.create_connection(("127.0.0.1", port)))
        assert await ask(port) == b"a"
    assert running.fleet.counters()["one"].errors == 0


async def test_without_file_descriptors_accepting_pauses(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    """EMFILE: said once, no busy loop, no forward lost; with descriptors free again connections are answered."""
    port = await running.start(endpoint("a"))
    await running.until(State.READY)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as clients:
        with socket.socket() as lowest:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + 20, hard))
        try:
            with contextlib.suppress(OSError):  # the clients themselves run out too
                for _ in range(30):
                    clients.enter_context(socket.create_connection(("127.0.0.1", port)))
            await trio.sleep(0.3)
            assert caplog.text.count("accepting pauses") == 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert await ask(port) == b"a"


async def test_what_a_forward_has_carried_is_counted(running: Running) -> None:
    """Connections and bytes as they come, held ones among the open; counting changes no status."""
    port = await running.start(waiting_for="no pod yet")

    async def parrot(stream: PeerStream) -> None:
        await stream.send_all(2 * await stream.receive_some())
        await stream.receive_some()

    running.pods.apps["a"] = parrot
    async with await trio.open_tcp_stream("127.0.0.1", port) as client:
        await client.send_all(b"hello")
        await until(lambda: running.fleet.counters()["one"].held == 1)
        running.fleet.update("one", (endpoint("a"),))
        assert await client.receive_some() == b"hellohello"
        counts = running.fleet.counters()["one"]
        assert (counts.connections, counts.connections_total, counts.held) == (1, 1, 0)
        assert (counts.sent, counts.received, counts.errors, counts.last_error_at) == (5, 10, 0, None)
    await until(lambda: running.fleet.counters()["one"].connections == 0)
    assert running.states() == [State.LISTENING, State.READY]
    await running.fleet.stop("one")
    assert running.fleet.counters() == {}


async def test_what_went_wrong_last_is_kept(running: Running) -> None:
    """Each connection that was cut or given up counts, and the newest error stands with its time."""
    port = await running.start(endpoint("a"))

    async def broken(stream: PeerStream) -> None:
        stream.refuse("error forwarding: reset by peer")

    running.pods.apps["a"] = broken
    for _ in range(2):
        with pytest.raises(trio.BrokenResourceError):
            await ask(port)
    await until(lambda: running.fleet.counters()["one"].errors == 2)
    counts = running.fleet.counters()["one"]
    assert "reset by peer" in counts.last_error
    assert counts.last_error_at is not None
    assert counts.last_error_at >= counts.since
