"""Lists the containers of a Docker engine, and lists them again after each of its events.

An engine that is away is retried, and its last containers stay. Reads few fields of the API (v1.24 and later),
PascalCase there and snake_case here.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from http.cookiejar import CookieJar, DefaultCookiePolicy
from random import Random
from typing import TypeVar, cast

import httpx
import msgspec
import trio
from msgspec import Struct, field
from msgspec.structs import replace

from forwarders.backoff import Backoff
from forwarders.system.tcp import ENGINE_SHARES_NETWORK, api_server_options
from watcher.docker.daemon import Daemon
from watcher.errors import DockerError

logger = logging.getLogger("portside.docker")

# Seconds. A local engine answers at once, unless the machine is busy with builds.
TIMEOUT = 10.0
# Bytes: 10,000 containers of 6 kB.
MAX_BODY = 64 * 1024 * 1024
FIRST_BACKOFF, LAST_BACKOFF = 0.1, 5.0
# Events that may change a container's state, name, address or ports (moby api/types/events).
_EVENTS = {"filters": msgspec.json.encode({"type": ["container", "network"]}).decode()}


class PublishedPort(Struct, frozen=True, rename="pascal"):
    """A port of a container. `public_port`: 0 if Docker does not publish it."""

    private_port: int
    public_port: int = 0
    ip: str = field(default="", name="IP")
    type: str = "tcp"


class Network(Struct, frozen=True):
    address: str = field(default="", name="IPAddress")


class NetworkSettings(Struct, frozen=True, rename="pascal"):
    networks: dict[str, Network | None] | None = None


class DockerContainer(Struct, frozen=True, rename="pascal"):
    """One container of GET /containers/json. `created`: seconds since 1970."""

    id: str
    names: tuple[str, ...] | None = None
    image: str = ""
    state: str = ""
    created: int = 0
    ports: tuple[PublishedPort, ...] | None = None
    labels: dict[str, str] | None = None
    network_settings: NetworkSettings | None = None

    @property
    def name(self) -> str:
        """The container's name without the API's slash. Names with two slashes are those of links."""
        return next((name[1:] for name in self.names or () if name.count("/") == 1), self.id[:12])

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def address(self) -> str:
        """The container's address in its first network, or ""."""
        networks = (self.network_settings or NetworkSettings()).networks or {}
        return next((network.address for _, network in sorted(networks.items()) if network and network.address), "")


class Containers(Struct, frozen=True):
    """The engine's containers. `problem`: why the list is missing or old. `reachable`: at their own addresses.

    `outdated`: the list may be older than the last deploy.
    """

    synced: bool = False
    problem: str = ""
    reachable: bool = True
    containers: tuple[DockerContainer, ...] = ()
    outdated: bool = False

    @property
    def is_behind(self) -> bool:
        """Whether the list is missing, or may be older than the last deploy."""
        return not self.synced or self.outdated


class _Platform(Struct, frozen=True, rename="pascal"):
    name: str = ""


class EngineVersion(Struct, frozen=True, rename="pascal"):
    """The fields of GET /version that portside reads."""

    version: str = ""
    platform: _Platform = _Platform()


_Decoded = TypeVar("_Decoded")


def decode_containers(data: bytes) -> tuple[DockerContainer, ...]:
    """Decodes the list of containers, sorted by id. Raises DockerError."""
    containers = decode_answer(data, tuple[DockerContainer, ...])
    return tuple(sorted(containers, key=lambda container: container.id))


async def engine_version(client: httpx.AsyncClient) -> EngineVersion:
    """Asks the engine for its version. Raises DockerError, httpx.HTTPError."""
    return decode_answer(await _get(client, "/version"), EngineVersion)


def decode_answer(data: bytes, kind: type[_Decoded]) -> _Decoded:
    """Decodes the body of an answer. Raises DockerError."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors; deep nesting is a RecursionError
        raise DockerError(f"its response cannot be read: {error}") from None


def client_of(daemon: Daemon) -> httpx.AsyncClient:
    """An HTTP client for this engine. Reading has no time-out, because events may be rare; TCP keep-alive does."""
    options = None if daemon.socket else api_server_options()
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=daemon.socket or None, socket_options=options),
        base_url=daemon.url,
        timeout=httpx.Timeout(TIMEOUT, read=None),
        headers={"Accept-Encoding": "identity"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # an engine sets none
    )


class ContainerWatch:
    """Keeps `snapshot` up to date, and calls `on_change` synchronously after each change."""

    def __init__(self, daemon: Daemon, on_change: Callable[[], None], random: Random) -> None:
        self.snapshot = Containers()
        self._daemon = daemon
        self._on_change = on_change
        self._backoff = Backoff(random, FIRST_BACKOFF, LAST_BACKOFF)
        self._asking = trio.CancelScope()

    def refresh(self) -> None:
        """List again, because a deploy has ended: an engine's events may come later than Skaffold's."""
        self.snapshot = replace(self.snapshot, outdated=self.snapshot.synced)
        self._asking.cancel()

    async def run(self) -> None:
        """Keep `snapshot` up to date until cancelled."""
        async with client_of(self._daemon) as client:
            while True:
                with trio.CancelScope() as self._asking:
                    try:
                        await self._list_and_watch(client)
                    except (DockerError, httpx.HTTPError) as error:
                        self._set_error(error)
                    await trio.sleep(self._backoff.next())
                if self._asking.cancelled_caught:
                    await trio.sleep(FIRST_BACKOFF)  # any user can post events about deploys

    async def _list_and_watch(self, client: httpx.AsyncClient) -> None:
        """Subscribes to events first, then lists, so no change in between is lost."""
        reachable = await self._is_reachable(client)
        async with aclosing(await _answer(client, "/events", _EVENTS)) as events:
            await self._list(client, reachable=reachable)
            async with aclosing(cast("AsyncGenerator[bytes]", events.aiter_raw())) as pieces:
                async for _ in pieces:  # the events are not decoded: the list has all
                    await self._list(client, reachable=reachable)
        raise DockerError("its event stream has ended")

    async def _list(self, client: httpx.AsyncClient, *, reachable: bool) -> None:
        found = decode_containers(await _get(client, "/containers/json?all=true"))
        await trio.lowlevel.checkpoint_if_cancelled()  # a refresh asked for a newer list
        self._backoff.reset()
        self._set(Containers(synced=True, reachable=reachable, containers=found))

    async def _is_reachable(self, client: httpx.AsyncClient) -> bool:
        """Whether containers can be reached at their addresses: not if Docker Desktop or another machine runs them."""
        if not self._daemon.socket or not ENGINE_SHARES_NETWORK:
            return False
        return "Docker Desktop" not in (await engine_version(client)).platform.name

    def _set_error(self, error: Exception) -> None:
        where = self._daemon.socket or self._daemon.url
        problem = f"the Docker engine at {where} does not answer: {str(error) or type(error).__name__}"
        if problem != self.snapshot.problem:
            logger.warning("%s", problem)
        self._set(replace(self.snapshot, problem=problem))

    def _set(self, snapshot: Containers) -> None:
        if snapshot != self.snapshot:
            self.snapshot = snapshot
            self._on_change()


async def _answer(client: httpx.AsyncClient, path: str, params: Mapping[str, str] | None = None) -> httpx.Response:
    """The head of a successful answer; the caller reads the body and closes it."""
    request = client.build_request("GET", path, params=params)
    with trio.move_on_after(TIMEOUT):
        answer = await client.send(request, stream=True)
        if answer.status_code == 200:
            return answer
        await answer.aclose()
        raise DockerError(f"GET {path} was answered with HTTP status {answer.status_code}")
    raise DockerError(f"GET {path} was not answered within {TIMEOUT:.0f} s")


async def _get(client: httpx.AsyncClient, path: str) -> bytes:
    async with aclosing(await _answer(client, path)) as answer:
        with trio.move_on_after(TIMEOUT):
            return await _body(answer, path)
    raise DockerError(f"the answer to GET {path} did not end within {TIMEOUT:.0f} s")


async def _body(answer: httpx.Response, path: str) -> bytes:
    """The response's body, within MAX_BODY. httpx itself would undo any number of content codings without a bound."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise DockerError(f"GET {path} was answered with a content coding that was not requested")
    body = bytearray()
    async with aclosing(cast("AsyncGenerator[bytes]", answer.aiter_raw())) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > MAX_BODY:
                raise DockerError(f"GET {path} was answered with more than {MAX_BODY >> 20} MiB")
    return bytes(body)
