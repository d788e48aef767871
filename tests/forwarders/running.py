"""A fleet that runs on pods in memory, what it reports, and a client that asks it."""

from __future__ import annotations

from random import Random

import trio
import trio.testing

from forwarders.fleet import Fleet
from forwarders.spec import Endpoint, ForwardSpec, State, Status
from forwarders.transports.api_server import ClusterRoute
from tests.forwarders.cluster import SPEC, Pods


class Running:
    """A fleet that runs, and everything it reported."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.pods = Pods(nursery)
        self.statuses: list[Status] = []
        self._reported, self._reports = trio.open_memory_channel[Status](10_000)
        self.fleet = Fleet({"": ClusterRoute(self.pods.open_channel)}.__getitem__, Random(0), self._report)

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


async def ask(port: int, host: str = "127.0.0.1") -> bytes:
    """All that the other end says until its good end."""
    async with await trio.open_tcp_stream(host, port) as stream:
        data = b""
        async for chunk in stream:
            data += chunk
        return data
