"""Sends requests to the API server: get, paged list, watch, create, access reviews.

It retries twice: once with renewed credentials after a 401, and once a list whose continue token has expired. All other
retries are the reflector's. Every failure is a ClusterError.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Self
from urllib.parse import quote, urlencode

import msgspec
import trio
from msgspec import Struct
from msgspec.structs import replace

from forwarders.transports.api_server import ApiServer, dial
from forwarders.transports.proxy import authority
from watcher.cluster import meta_v1
from watcher.cluster.kinds import POD, Kind, Resource
from watcher.cluster.network import MAX_BODY, UnpackedBody, why
from watcher.cluster.store import Watch
from watcher.errors import ApiUnreachableError, ExpiredError, HttpError, MalformedError, NotFoundError
from watcher.http_client import ClientRequest, HeaderList, HttpClient, Requester, StreamedResponse

# Seconds without a byte of a response, watches excepted.
SILENCE = 30.0
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
    """A complete list, consistent at `resource_version`."""

    objects: tuple[Resource, ...]
    resource_version: str


class ApiClient:
    """Use as an async context manager. `http` replaces the network in tests."""

    def __init__(self, server: ApiServer, http: Requester | None = None) -> None:
        self.server = server
        self._http = http or _client_of(server)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self._http.close()

    @property
    def url(self) -> str:
        """The URL of the API server."""
        return self.server.url

    async def move(self, server: ApiServer) -> None:
        """Send requests to `server` from now on. Running ones fail as if the old server had closed the connection."""
        old, self._http = self._http, _client_of(server)
        self.server = server
        old.close()

    async def get(self, kind: Kind, namespace: str, name: str) -> Resource:
        """One object. Raises NotFoundError and any other ClusterError."""
        asked = meta_v1.RequestInfo("get", kind.plural, namespace, name)
        if name in {"", ".", ".."}:  # the path would be another one, and no object has such a name
            raise NotFoundError(f"cannot {asked}: no object has that name (404)", 404)
        body = await self._read(asked, f"{_path(kind, namespace)}/{quote(name, safe='')}", {})
        return meta_v1.decode(body, kind.decodes_to, asked)

    async def list(self, watch: Watch) -> Listed:
        """All objects of a watch, consistent at one resourceVersion, fetched in pages of PAGE."""
        try:
            return await self._list(watch, PAGE)
        except ExpiredError:
            # The list took longer than etcd keeps old versions: list without pages, as client-go's pager does.
            return await self._list(watch, None)

    async def first(self, watch: Watch, limit: int) -> tuple[Resource, ...]:
        """At most `limit` objects of a watch: the first page of a list."""
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
        """A watch from `resource_version` on. Entered when the API server has accepted it; it ends after `seconds`."""
        asked = meta_v1.RequestInfo("watch", watch.kind.plural, watch.namespace)
        query = _selectors(watch) | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
        }
        # Compression would delay small events, and costs the API server more than it saves.
        headers = {"Accept-Encoding": "identity"} | _accept(watch.kind)
        request = self._request(_path(watch.kind, watch.namespace), query, headers)
        async with (
            self._answer(asked, replace(request, silence=seconds + WATCH_GRACE)) as body,
            aclosing(_events(body, meta_v1.WatchDecoder(watch.kind))) as events,
        ):
            yield events

    async def server_version(self) -> str:
        """The API server's version, e.g. "v1.34.4"."""
        asked = meta_v1.RequestInfo("get", "/version")
        return meta_v1.decode(await self._read(asked, "/version", {}), meta_v1.VersionInfo, asked).git_version

    async def pod_log(self, namespace: str, pod: str, container: str, lines: int) -> str:
        """The last lines of a container's log, "" for `container` if the pod has only one. Raises ClusterError."""
        asked = meta_v1.RequestInfo("get", "pods/log", namespace, pod)
        query = {"tailLines": str(lines), "limitBytes": str(LOG_BYTES)} | (
            {"container": container} if container else {}
        )
        path = f"{_path(POD, namespace)}/{quote(pod, safe='')}/log"
        return (await self._read(asked, path, query)).decode(errors="replace")

    async def is_allowed(self, action: Action) -> bool:
        """Asks with a SelfSubjectAccessReview, which every authenticated user may create. Raises ClusterError."""
        asked = meta_v1.RequestInfo("create", "selfsubjectaccessreviews")
        kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        review = msgspec.json.encode(kind | {"spec": {"resourceAttributes": action}})
        request = self._request(_REVIEWS, {}, {"Content-Type": "application/json"})
        async with self._answer(asked, replace(request, method="POST", body=review)) as body:
            return meta_v1.decode(await self._whole(body), _ReviewResult, asked).status.allowed

    async def _read(
        self,
        asked: meta_v1.RequestInfo,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str] = {},
        room: int = MAX_BODY,
    ) -> bytes:
        async with self._answer(asked, self._request(path, query, headers)) as body:
            return await self._whole(body, room)

    def _request(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> ClientRequest:
        """A GET request without credentials."""
        target = quote(self.server.prefix, safe="/%:@!$&'()*+,;=~") + path
        if query:
            target += f"?{urlencode(query, quote_via=quote)}"
        common = {"User-Agent": "portside", "Accept": "application/json", "Accept-Encoding": "gzip"}
        return ClientRequest("GET", target, [*(common | dict(headers)).items()], silence=SILENCE)

    @asynccontextmanager
    async def _answer(self, asked: meta_v1.RequestInfo, request: ClientRequest) -> AsyncIterator[UnpackedBody]:
        """The body of a successful response. Raises ApiError for any other."""
        credentials = await self.server.authorize(KEEP)
        response = await self._send(request, credentials)
        if response.status == 401:
            response.close()
            response = await self._send(request, await self.server.authorize_after(credentials))
        try:
            body = UnpackedBody(response)
            if not 200 <= response.status < 300:  # redirects too: following one would send the credentials elsewhere
                raise meta_v1.api_error(meta_v1.status(await self._whole(body), response.status), asked)
            yield body
        except HttpError as error:
            raise ApiUnreachableError(f"the API server {self.url} broke off its answer: {why(error)}") from error
        finally:
            response.close()

    async def _send(self, request: ClientRequest, credentials: HeaderList) -> StreamedResponse:
        try:
            with trio.fail_after(HEAD_WITHIN):
                return await self._http.send(replace(request, headers=[*request.headers, *credentials]))
        except trio.TooSlowError as error:
            raise ApiUnreachableError(f"the API server {self.url} did not answer within {HEAD_WITHIN:.0f} s") from error
        except HttpError as error:
            raise ApiUnreachableError(f"the API server {self.url} cannot be reached: {why(error)}") from error

    async def _whole(self, body: UnpackedBody, room: int = MAX_BODY) -> bytes:
        try:
            with trio.fail_after(WHOLE):
                return await body.read(room)
        except trio.TooSlowError as error:
            text = f"the API server {self.url} did not end its answer within {WHOLE:.0f} s"
            raise ApiUnreachableError(text) from error


async def _events(body: UnpackedBody, decoder: meta_v1.WatchDecoder) -> AsyncGenerator[list[meta_v1.WatchEvent], None]:
    """The events of one watch, those together that arrived together. Raises ApiError, MalformedError."""
    while data := await body.receive():
        yield decoder.feed(data)


def _client_of(server: ApiServer) -> HttpClient:
    return HttpClient(partial(dial, server), authority(server.host.encode("idna").decode(), server.port))


def _path(kind: Kind, namespace: str) -> str:
    return (
        f"{kind.path}/namespaces/{quote(namespace, safe='')}/{kind.plural}"
        if namespace
        else f"{kind.path}/{kind.plural}"
    )


def _accept(kind: Kind, suffix: str = "") -> dict[str, str]:
    """A server that does not know this form sends whole objects."""
    partial = f"application/json;as=PartialObjectMetadata{suffix};g=meta.k8s.io;v=v1"
    return {"Accept": f"{partial}, application/json"} if kind.metadata_only else {}


def _selectors(watch: Watch) -> dict[str, str]:
    selectors = {"labelSelector": watch.label_selector, "fieldSelector": watch.field_selector}
    return {name: value for name, value in selectors.items() if value}


class Action(Struct, frozen=True, omit_defaults=True):
    """ResourceAttributes of authorization.k8s.io/v1. `namespace` "": in all namespaces."""

    verb: str
    resource: str
    group: str = ""
    subresource: str = ""
    namespace: str = ""

    @property
    def thing(self) -> str:
        """As RBAC writes it: `pods/portforward`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class _ReviewStatus(Struct, frozen=True):
    allowed: bool = False


class _ReviewResult(Struct, frozen=True):
    status: _ReviewStatus
