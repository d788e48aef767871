"""Forwards end to end: real local sockets, pods in memory. States in order, holding, stopping, nothing left open."""

from __future__ import annotations

import contextlib
import gc
import resource
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from random import Random

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from forwarders.fleet import Fleet
from forwarders.spec import Endpoint, ForwardSpec, PortPolicy, PortRequest, State, Status
from forwarders.tasks import Notifier
from forwarders.transports.api_server import ClusterRoute
from tests.forwarders.cluster import SPEC, Pods, endpoint, greeter, refusing
from tests.forwarders.peer import PeerStream
from tests.support.sockets import reset


class Running:
    """A fleet that runs, and everything it reported."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.pods = Pods(nursery)
        self.statuses: list[Status] = []
        self._reported, self._reports = trio.open_memory_channel[Status](10_000)
        self.fleet = Fleet(ClusterRoute(self.pods.open_channel), Random(0), self._report)

    def _report(self, status: Status) -> None:
        self.statuses.append(status)
        self._reported.send_nowait(status)

    async def until(self, state: State, ident: str = "one") -> Status:
        """The next report of this state."""
        async for status in self._reports:
            if (status.id, status.state) == (ident, state):
                return status
        raise AssertionError("reports never end")

    def forget(self) -> None:
        """What was reported so far."""
        self.statuses.clear()
        while self._reports.statistics().current_buffer_used:
            self._reports.receive_nowait()

    async def start(self, *endpoints: Endpoint, spec: ForwardSpec = SPEC, waiting_for: str = "") -> int:
        await self.fleet.start(spec, endpoints, waiting_for)
        return self.fleet.ports.get(spec.id, 0)

    def states(self, ident: str = "one") -> list[State]:
        states = [status.state for status in self.statuses if status.id == ident]
        return [state for index, state in enumerate(states) if not index or states[index - 1] != state]


@pytest.fixture
async def running(nursery: trio.Nursery) -> AsyncIterator[Running]:
    running = Running(nursery)
    running.pods.apps = {name: greeter(name) for name in ("a", "b", "c")}
    async with trio.open_nursery() as inner:
        await inner.start(running.fleet.run)
        yield running
        inner.cancel_scope.cancel()
    nursery.cancel_scope.cancel()


async def ask(port: int, host: str = "127.0.0.1") -> bytes:
    """All that the other end says until its good end."""
    async with await trio.open_tcp_stream(host, port) as stream:
        data = b""
        async for chunk in stream:
            data += chunk
        return data


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.testing.wait_all_tasks_blocked(0.01)


async def test_the_states_in_order(running: Running) -> None:
    """Bound, then ready with a pod's session; without one listening, with the reason; ready again; stopped."""
    port = await running.start(waiting_for="no pod yet")
    assert port > 0
    assert running.statuses[-1] == Status(id="one", state=State.LISTENING, local_port=port, reason="no pod yet")
    running.fleet.update("one", (endpoint("a"),))
    status = await running.until(State.READY)
    assert (status.endpoint, status.local_port, status.reason) == (endpoint("a"), port, "")
    running.fleet.update("one", (), "the pod went away")
    assert (await running.until(State.LISTENING)).reason == "the pod went away"
    running.fleet.update("one", (endpoint("b"),))
    await running.until(State.READY)
    running.fleet.update("one", (), "", "the service has no such port")
    assert (await running.until(State.FAILED)).reason == "the service has no such port"
    await running.fleet.stop("one")
    assert running.states() == [
        State.LISTENING,
        State.READY,
        State.LISTENING,
        State.READY,
        State.FAILED,
        State.STOPPED,
    ]


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
    port = await running.start()
    answers: list[bytes] = []

    async def collect() -> None:
        answers.append(await ask(port))

    async with trio.open_nursery() as clients:
        for _ in range(20):
            clients.start_soon(collect)
        await trio.sleep(0.1)
        assert answers == []
        running.fleet.update("one", (endpoint("a"),))
    assert answers == [b"a"] * 20


async def test_held_while_the_application_does_not_listen(running: Running) -> None:
    """Refused connections are dialled again until the application is there: nobody sees its restart."""
    running.pods.apps["a"] = refusing
    port = await running.start(endpoint("a"))
    answers: list[bytes] = []

    async def collect() -> None:
        answers.append(await ask(port))

    async with trio.open_nursery() as clients:
        for _ in range(20):
            clients.start_soon(collect)
        await trio.sleep(0.5)
        assert answers == []
        running.pods.apps["a"] = greeter("a")
    assert answers == [b"a"] * 20


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
    for _ in range(50):
        reset(socket.create_connection(("127.0.0.1", port)))
    assert await ask(port) == b"a"


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


async def test_a_stopped_forward_frees_its_port_at_once(running: Running) -> None:
    """After `stop` the port is free, its connections are cut, and a new forward may have it."""
    port = await running.start(endpoint("a"))

    async def silent(stream: PeerStream) -> None:
        await stream.receive_some()

    running.pods.apps["a"] = silent
    async with await trio.open_tcp_stream("127.0.0.1", port) as client:
        await client.send_all(b"x")
        await trio.testing.wait_all_tasks_blocked(0.05)
        await running.fleet.stop("one")
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
    running.pods.apps["a"] = greeter("a")
    again = msgspec.structs.replace(SPEC, port=PortRequest(PortPolicy.DEMANDED, port))
    assert await running.start(endpoint("a"), spec=again) == port
    assert await ask(port) == b"a"


async def test_a_port_that_is_taken_fails_that_forward_alone(running: Running) -> None:
    """The other forwards of the fleet go on; the failed one can be stopped like any other."""
    port = await running.start(endpoint("a"))
    taken = msgspec.structs.replace(SPEC, id="two", group="two", port=PortRequest(PortPolicy.DEMANDED, port))
    assert await running.start(endpoint("b"), spec=taken) == 0
    assert running.states("two") == [State.FAILED]
    assert f"port {port} on 127.0.0.1 is taken" in [s for s in running.statuses if s.id == "two"][-1].reason
    assert await ask(port) == b"a"
    await running.fleet.stop("two")
    assert running.states("two") == [State.FAILED, State.STOPPED]


async def test_reserved_ports_wait_for_their_forward(running: Running) -> None:
    """A forward that comes first does not get the port that a later one asks for explicitly."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    later = msgspec.structs.replace(SPEC, id="two", group="two", port=PortRequest(PortPolicy.EXPLICIT, port))
    running.fleet.reserve([later])
    first = msgspec.structs.replace(SPEC, port=PortRequest(PortPolicy.PREFERRED, port))
    assert await running.start(endpoint("a"), spec=first) != port
    assert await running.start(endpoint("b"), spec=later) == port


async def test_a_lost_session_is_replaced(running: Running) -> None:
    """The API server cuts every session: the forward listens on, and serves again with the next one."""
    port = await running.start(endpoint("a"))
    assert await ask(port) == b"a"
    for peer in running.pods.standing("a"):
        peer.close()
    assert await ask(port) == b"a"
    assert set(running.states()) == {State.LISTENING, State.READY}


async def test_starting_before_running(nursery: trio.Nursery) -> None:
    """A fleet that does not run starts nothing."""
    with pytest.raises(RuntimeError):
        await Running(nursery).fleet.start(SPEC, ())


async def test_the_end_leaves_no_socket_open() -> None:
    """Cancelled with connections held, served and in dial: listeners, clients and sessions are closed."""
    async with trio.open_nursery() as nursery:
        running = Running(nursery)
        running.pods.apps = {"a": refusing, "b": greeter("b")}
        async with trio.open_nursery() as inner:
            await inner.start(running.fleet.run)
            ports = [
                await running.start(*endpoints, spec=msgspec.structs.replace(SPEC, id=name, group=name))
                for name, endpoints in (("held", ()), ("refused", (endpoint("a"),)), ("served", (endpoint("b"),)))
            ]
            clients = [await trio.open_tcp_stream("127.0.0.1", port) for port in ports for _ in range(5)]
            await trio.sleep(0.1)
            inner.cancel_scope.cancel()
        for client in clients:
            with contextlib.suppress(trio.BrokenResourceError):
                while await client.receive_some():
                    pass
            await client.aclose()
        for port in ports:
            socket.create_server(("127.0.0.1", port)).close()
        assert not running.pods.standing("a")
        assert not running.pods.standing("b")
        nursery.cancel_scope.cancel()


async def test_pods_that_are_gone_leave_nothing(running: Running, autojump_clock: MockClock) -> None:
    """After 60 replaced pods, each of which has served, the same objects exist as after 6."""

    def objects() -> Counter[type]:
        gc.collect()
        ours = (type(one) for one in gc.get_objects() if type(one).__module__.startswith("forwarders."))
        # The pods of the tests, which stay, have these.
        return Counter(one for one in ours if one is not Notifier and not one.__module__.startswith("forwarders.wire."))

    counts = {}
    port = await running.start(endpoint("a"))
    for number in range(1, 61):
        name = f"pod-{number}"
        running.pods.apps[name] = greeter(name)
        running.fleet.update("one", (endpoint(name),))
        assert await ask(port) == name.encode()
        if number in {6, 60}:
            await trio.sleep(60)
            assert running.fleet.pools.sessions == 1
            running.forget()
            counts[number] = objects()
    assert counts[60] == counts[6]
