"""Sends requests to the API server: get, paged list, watch, create, access reviews.

It retries twice: once with renewed credentials after a 401, and once a list whose continue token has expired. All other
retries are the reflector's. Every failure is a ClusterError.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Self, cast
from urllib.parse import quote

import httpx
import msgspec
import trio
from msgspec import Struct

from forwarders.transports.api_server import ApiServer, Headers
from watcher.cluster import meta_v1, network
from watcher.cluster.kinds import POD, Kind, Resource
from watcher.cluster.network import MAX_BODY, drain, read_body, unpacked, why
from watcher.cluster.store import Watch
from watcher.errors import ApiUnreachableError, ExpiredError, MalformedError, NotFoundError

# Seconds to connect (name and TCP; TLS), and without a byte of a response, watches excepted.
CONNECT_TIMEOUT, SILENCE = 5.0, 30.0
# Seconds for a whole body: MAX_BODY at some 2 MiB/s.
WHOLE = 120.0
# Seconds after timeoutSeconds before a watch counts as dead.
WATCH_GRACE = 15.0
# The page size of kubectl and client-go. 500 pods are some 5 MB of JSON.
PAGE = 500
# Pages of a list: 500,000 objects. Kubernetes is designed for 150,000 pods.
MAX_PAGES = 1000
# Seconds from a request, with connecting, to the end of the response's headers. The API server gives up after 60 s.
HEAD_WITHIN = 65.0
# For ApiServer.authorize: do not renew.
KEEP = False
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
LOG_BYTES = 64 * 1024  # at most, of a container's log

EventStream = AsyncIterator[list[meta_v1.WatchEvent]]


class Listed(Struct, frozen=True):
    """A complete list of objects, consistent at `resource_version`."""

    objects: tuple[Resource, ...]
    resource_version: str


class ApiClient:
    """Makes requests to one API server. Use as an async context manager; `transport` replaces the network in tests."""

    def __init__(self, server: ApiServer, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.server = server
        self._http = _http(server, transport)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._http.__aexit__(*error)

    async def move(self, server: ApiServer) -> None:
        """Send requests to `server` from now on. Running ones fail as if the old server had closed the connection."""
        old, self._http = self._http, _http(server, None)
        self.server = server
        await self._http.__aenter__()
        await old.aclose()

    async def get(self, kind: Kind, namespace: str, name: str) -> Resource:
        """Fetches one object. Raises NotFoundError and any other ClusterError."""
        asked = meta_v1.RequestInfo("get", kind.plural, namespace, name)
        if name in {"", ".", ".."}:  # the path would be another one, and no object has such a name
            raise NotFoundError(f"cannot {asked}: no object has that name (404)", 404)
        body = await self._read(asked, f"{_path(kind, namespace)}/{quote(name, safe='')}", {})
        return meta_v1.decode(body, kind.decodes_to, asked)

    async def list(self, watch: Watch) -> Listed:
        """Fetches all objects of a watch in pages of PAGE, consistent at one resourceVersion."""
        try:
            return await self._list(watch, PAGE)
        except ExpiredError:
            # The list took longer than etcd keeps old versions: list without pages, as client-go's pager does.
            return await self._list(watch, None)

    async def first(self, watch: Watch, limit: int) -> tuple[Resource, ...]:
        """Get at most `limit` objects of a watch: the first page of a list."""
        return (await self._list(watch, limit, pages=1)).objects

    async def _list(self, watch: Watch, limit: int | None, pages: int = MAX_PAGES) -> Listed:
        asked = meta_v1.RequestInfo("list", watch.kind.plural, watch.namespace)
        query = _selectors(watch) | ({"limit": str(limit)} if limit else {})
        objects: list[Resource] = []
        room, headers = MAX_BODY, _accept(watch.kind, "List")
        for _ in range(pages):
            body = await self._read(asked, _path(watch.kind, watch.namespace), query, headers, room)
            room -= len(body)
            page = meta_v1.decode(body, meta_v1.Page, asked)
            objects += [meta_v1.decode(item, watch.kind.decodes_to, asked) for item in page.items or ()]
            if not page.metadata.continue_ or pages == 1:
                return Listed(tuple(objects), page.metadata.resource_version)
            if query.get("continue") == page.metadata.continue_:
                raise MalformedError(f"cannot {asked}: the API server sends the same page repeatedly")
            query["continue"] = page.metadata.continue_
        raise MalformedError(f"cannot {asked}: the list does not end within {MAX_PAGES} pages")

    @asynccontextmanager
    async def watch(self, watch: Watch, resource_version: str, seconds: int) -> AsyncIterator[EventStream]:
        """Opens a watch from `resource_version` on, for `seconds`. Entered when the API server has accepted it."""
        asked = meta_v1.RequestInfo("watch", watch.kind.plural, watch.namespace)
        query = _selectors(watch) | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
        }
        timeout = httpx.Timeout(SILENCE, connect=CONNECT_TIMEOUT, pool=CONNECT_TIMEOUT, read=seconds + WATCH_GRACE)
        decoder = meta_v1.WatchDecoder(watch.kind)
        # Compression would delay small events, and costs the API server more than it saves.
        request = self._http.build_request(
            "GET",
            _path(watch.kind, watch.namespace),
            params=query,
            timeout=timeout,
            headers={"Accept-Encoding": "identity"} | _accept(watch.kind),
        )
        async with (
            self._answer(asked, request) as response,
            self._pieces(response) as pieces,
            aclosing(decoder.feed(data) async for data in pieces) as events,
        ):
            yield events

    async def server_version(self) -> str:
        """Asks the API server for its version, such as v1.34.4."""
        asked = meta_v1.RequestInfo("get", "/version")
        return meta_v1.decode(await self._read(asked, "/version", {}), meta_v1.VersionInfo, asked).git_version

    async def pod_log(self, namespace: str, pod: str, container: str, lines: int) -> str:
        """Read the last lines of a container's log; `container` "": of the pod's only one. Raises ClusterError."""
        asked = meta_v1.RequestInfo("get", "pods/log", namespace, pod)
        query = {"tailLines": str(lines), "limitBytes": str(LOG_BYTES)} | (
            {"container": container} if container else {}
        )
        path = f"{_path(POD, namespace)}/{quote(pod, safe='')}/log"
        return (await self._read(asked, path, query)).decode(errors="replace")

    async def is_allowed(self, action: Action) -> bool:
        """Whether this user may do that, by a SelfSubjectAccessReview: any user may create one. Raises ClusterError."""
        asked = meta_v1.RequestInfo("create", "selfsubjectaccessreviews")
        kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        body = msgspec.json.encode(kind | {"spec": {"resourceAttributes": action}})
        request = self._http.build_request("POST", _REVIEWS, content=body, headers={"Content-Type": "application/json"})
        async with self._answer(asked, request) as response:
            return meta_v1.decode(await self._whole(response), _ReviewResult, asked).status.allowed

    async def _read(
        self,
        asked: meta_v1.RequestInfo,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str] = {},
        room: int = MAX_BODY,
    ) -> bytes:
        request = self._http.build_request("GET", path, params=dict(query), headers=headers)
        async with self._answer(asked, request) as response:
            return await self._whole(response, room)

    @asynccontextmanager
    async def _answer(self, asked: meta_v1.RequestInfo, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        """Sends a request, again after a 401; its response if that is a success. Raises ApiError for any other."""
        headers = await self.server.authorize(KEEP)
        response = await self._send(request, headers)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            await response.aclose()
            response = await self._send(request, await self.server.authorize_after(headers))
        try:
            if not response.is_success:  # redirects too: following one would send the credentials elsewhere
                status = meta_v1.status(await self._whole(response), response.status_code)
                raise meta_v1.api_error(status, asked)
            yield response
        finally:
            await response.aclose()

    async def _send(self, request: httpx.Request, headers: Headers) -> httpx.Response:
        for name in [name for name in request.headers if name.startswith(("authorization", "impersonate-"))]:
            del request.headers[name]  # the rejected ones, on the second try
        request.headers.update(headers)
        request.extensions["sni_hostname"] = self.server.server_name
        try:
            with trio.fail_after(HEAD_WITHIN):
                return await self._http.send(request, stream=True)
        except trio.TooSlowError as error:
            raise ApiUnreachableError(
                f"the API server {self.server.url} did not answer within {HEAD_WITHIN:.0f} s"
            ) from error
        except httpx.HTTPError as error:
            raise ApiUnreachableError(f"the API server {self.server.url} cannot be reached: {why(error)}") from error

    async def _whole(self, response: httpx.Response, room: int = MAX_BODY) -> bytes:
        try:
            with trio.fail_after(WHOLE):
                async with self._pieces(response) as pieces:
                    return await read_body(pieces, room)
        except trio.TooSlowError as error:
            text = f"the API server {self.server.url} did not end its answer within {WHOLE:.0f} s"
            raise ApiUnreachableError(text) from error

    @asynccontextmanager
    async def _pieces(self, response: httpx.Response) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of a response, unpacked, piece by piece. Closes httpx's generators on every way out."""
        raw = cast("AsyncGenerator[bytes, None]", response.aiter_raw())
        pieces = raw
        try:
            pieces = unpacked(response, raw)
            yield pieces
        except httpx.HTTPError as error:
            raise ApiUnreachableError(f"the API server {self.server.url} broke off its answer: {why(error)}") from error
        finally:
            # httpx's generators are nested and end only from the innermost, which a cancelled read reaches.
            with trio.CancelScope() as scope:
                scope.cancel()
                if pieces is not raw:
                    await pieces.aclose()
                await drain(raw)


def _http(server: ApiServer, transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=server.url,
        transport=transport or network.transport(server),
        trust_env=False,
        timeout=httpx.Timeout(SILENCE, connect=CONNECT_TIMEOUT, pool=CONNECT_TIMEOUT),
        headers={"User-Agent": "portside", "Accept": "application/json", "Accept-Encoding": "gzip"},
        # An API server sets no cookies; those of a proxy are neither kept nor sent back.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


def _path(kind: Kind, namespace: str) -> str:
    scope = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"{kind.path}{scope}/{kind.plural}"


def _accept(kind: Kind, suffix: str = "") -> dict[str, str]:
    """The Accept header: only metadata, if that is enough. Old servers send whole objects nevertheless."""
    partial = f"application/json;as=PartialObjectMetadata{suffix};g=meta.k8s.io;v=v1"
    return {"Accept": f"{partial}, application/json"} if kind.metadata_only else {}


def _selectors(watch: Watch) -> dict[str, str]:
    selectors = {"labelSelector": watch.label_selector, "fieldSelector": watch.field_selector}
    return {name: value for name, value in selectors.items() if value}


class Action(Struct, frozen=True, omit_defaults=True):
    """Something a user may do: ResourceAttributes of authorization.k8s.io/v1. `namespace` "": in all namespaces."""

    verb: str
    resource: str
    group: str = ""
    subresource: str = ""
    namespace: str = ""

    @property
    def thing(self) -> str:
        """Resource and subresource as RBAC writes them: `pods/portforward`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class _ReviewStatus(Struct, frozen=True):
    allowed: bool = False


class _ReviewResult(Struct, frozen=True):
    status: _ReviewStatus
