"""A pod's own address beside its sessions: which connections go there, and when that changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import trio

from forwarders.errors import DialError
from forwarders.spec import Endpoint, PodRef
from forwarders.system.tcp import SocketWatcher
from forwarders.tasks import Notifier
from forwarders.transports.api_server import ClusterRoute
from forwarders.transports.direct import DirectTunnel
from forwarders.transports.sockets import RawSocket

# Seconds. A pod that is not reached at once (a network policy, no route) is reached through the API server instead, and
# so is one whose address is not confirmed at once.
POD_TIMEOUT = 0.3
# Seconds for which a pod's port is not tried again after that, at first and at most: a client waits for each try.
AVOID, MOST_AVOID = 30.0, 600.0
# Seconds for which an address counts as the pod's after the API server was asked: a kubelet takes about as long to take
# down a pod. How long it is asked again and again after a connection, and how long it is not after it said no.
LEASE, KEEP, REST = 1.0, 30.0, 2.0

# Address and port.
_Port = tuple[str, int]


class NotReachedError(DialError):
    """A pod's own address does not take the connection; that says nothing about its sessions."""


class OwnAddress:
    """Which ports of one pod are reached at the pod's own address. The plan says whether that may be tried.

    An address may be another pod's as soon as its pod is gone. So it is used only if `confirm` has told, at most LEASE
    seconds ago, that it is this pod's; `run` asks again while connections go there. And only while `shown` agrees, also
    once a connection is made: on a busy machine the plan follows the watch late, and another machine may answer at an
    address that is free. The first connection to a port tries the address; until that has ended, others go through
    sessions. It waits for the answer to `confirm`, for POD_TIMEOUT at most: a browser or a database client keeps it for
    long. `on_change` is called when connections may go another way from then on.
    """

    def __init__(self, pod: PodRef, route: ClusterRoute, watcher: SocketWatcher, on_change: Callable[[], None]) -> None:
        self.watcher = watcher
        self._confirm = partial(route.confirm, pod)
        self._shown = partial(route.shown, pod)
        self._on_change = on_change
        self._wanted = trio.Event()
        self._address, self._used = "", -math.inf  # by the last connection
        self._confirmed, self._confirmed_until = "", -math.inf
        self._answered, self._awaited_until = Notifier(), -math.inf
        self._reached: dict[_Port, str] = {}  # and from which address of ours
        self._trying: set[_Port] = set()
        self._avoid_until: dict[_Port, tuple[float, float]] = {}  # and for how long that was

    async def run(self) -> None:
        """Asks whose the address is while connections want to know; runs until cancelled."""
        while True:
            await self._wanted.wait()
            address, began, says_so = self._address, trio.current_time(), False
            with trio.move_on_after(LEASE):
                says_so = await self._confirm(address)
            news = says_so and not self.is_confirmed(address)
            self._confirmed, self._confirmed_until = address, began + LEASE if says_so else -math.inf
            if not says_so:
                self._awaited_until = -math.inf  # nobody waits for the next answer
            self._answered.fire()
            if news:
                self._on_change()  # connections that wait for a session need none
            await trio.sleep(LEASE / 2 if says_so else REST)
            if trio.current_time() > self._used + KEEP:
                self._wanted = trio.Event()

    def serves(self, endpoint: Endpoint) -> bool:
        """Whether the last connection was made to the pod's own address."""
        return (endpoint.own_address, endpoint.port) in self._reached

    def open(self, endpoint: Endpoint) -> DirectTunnel | None:
        """A connection to the pod's own address, None for one through a session."""
        address = endpoint.own_address
        key = address, endpoint.port
        until, _ = self._avoid_until.get(key, (-math.inf, 0.0))
        now = trio.current_time()
        if not address or key in self._trying or now < until:
            return None
        self._address, self._used = address, now
        if not self._wanted.is_set():
            self._wanted.set()
            self._awaited_until = now + POD_TIMEOUT
        if not ((self.is_confirmed(address) or now < self._awaited_until) and self._shown(address)):
            return None
        if key not in self._reached:
            self._trying.add(key)
        return _PodTunnel(key, self)

    def is_confirmed(self, address: str) -> bool:
        """Whether the API server has told lately that the address is this pod's."""
        return address == self._confirmed and trio.current_time() < self._confirmed_until

    async def soon_confirmed(self, address: str) -> bool:
        """Waits for the API server's answer if connections wait for it now; whether the address is confirmed."""
        with trio.move_on_at(self._awaited_until):
            while not self.is_confirmed(address) and trio.current_time() < self._awaited_until:
                await self._answered.wait()
        return self.is_confirmed(address)

    def is_reached_from(self, source: str, key: _Port) -> bool:
        """Whether a new connection is to the pod. From another address of ours it went another way, to a gateway."""
        return self._shown(key[0]) and self._reached.get(key, source) == source

    def dialled(self, key: _Port, source: str | None) -> None:
        """Note how a dial ended: from which address of ours, "" if it was in vain, None if it was given up before."""
        before = key in self._reached
        self._trying.discard(key)
        if source:
            self._reached[key] = source
            self._avoid_until.pop(key, None)
        elif source == "":
            self._reached.pop(key, None)
            _, last = self._avoid_until.get(key, (0.0, 0.0))
            pause = min(2 * last, MOST_AVOID) or AVOID
            self._avoid_until[key] = trio.current_time() + pause, pause
        if (key in self._reached) is not before:
            self._on_change()


class _PodTunnel(DirectTunnel):
    """A tunnel to a pod's own address that reports how its dial ends."""

    def __init__(self, key: _Port, own_address: OwnAddress) -> None:
        super().__init__(*key, POD_TIMEOUT, own_address.watcher)
        self._key = key
        self._own_address = own_address

    def _made(self, remote: RawSocket) -> None:
        source = self._source(remote)
        if not self._own_address.is_reached_from(source, self._key):
            raise self._refused(f"{self._address} is not the pod's address any more")
        self._own_address.dialled(self._key, source)
        super()._made(remote)

    def _source(self, remote: RawSocket) -> str:
        return str(remote.socket.getsockname()[0])

    def _may_dial(self) -> bool:
        return self._own_address.is_confirmed(self._address)

    async def _until_made(self) -> None:
        if self._socket is not None:
            await super()._until_made()
        elif not await self._own_address.soon_confirmed(self._address):
            raise self._refused(f"the API server has not told whose address {self._address} is")

    def _dial_error(self, reason: str) -> DialError:
        # Where another machine may have answered, the port itself is not to blame.
        self._own_address.dialled(self._key, "" if self._may_dial() else None)
        return NotReachedError(reason)

    def abort(self) -> None:
        if not (self._connected or self.finished):
            self._own_address.dialled(self._key, None)
        super().abort()
