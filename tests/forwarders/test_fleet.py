"""Forwards of a fleet, with real sockets and pods in memory: states in order, ports, stopping, nothing left open."""

from __future__ import annotations

import contextlib
import gc
import socket
from collections import Counter

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from forwarders.spec import PortPolicy, PortRequest, State, Status
from forwarders.tasks import Notifier
from tests.forwarders.cluster import SPEC, endpoint, greeter, refusing
from tests.forwarders.peer import PeerStream
from tests.forwarders.running import Running, ask


@pytest.fixture
def running(running: Running) -> Running:
    running.pods.apps = {name: greeter(name) for name in ("a", "b", "c")}
    return running


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
        ours = (type(one) for one in gc.get_objects() if str(type(one).__module__).startswith("forwarders."))
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
