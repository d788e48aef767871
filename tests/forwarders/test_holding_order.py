"""Connections that wait are served in the order in which they came."""

from __future__ import annotations

import contextlib
import math
import socket
from datetime import UTC, datetime
from typing import cast

import trio
import trio.testing
from trio.testing import MockClock

from forwarders.backend import Backend, Dialled
from forwarders.holding import HeldDial, WaitingLine
from forwarders.spec import Counts, State
from forwarders.system.tcp import SocketWatcher
from forwarders.transports.sockets import RawSocket
from forwarders.tunnel import TunnelProtocol
from tests.forwarders.cluster import SPEC, endpoint, refusing
from tests.forwarders.running import Running
from tests.forwarders.waiting import HOST, OPENED, Recorder, client, until


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
