"""Owns requests to the API server: get, paged list, watch lines; httpx on HTTP/1.1, msgspec straight from the bytes.

Refuses retries (the reflector's) but one: a 401 renews the credentials once.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from forwarders.transports.server import ApiServer
from watcher.cluster.errors import ApiError, UnreachableError
from watcher.cluster.kinds import Kind
from watcher.cluster.objects import Object
from watcher.cluster.store import Watch

T = TypeVar("T")

# client-go's default page. A page of 500 pods is some 5 MB of JSON.
PAGE = 500
# Everything but a watch answers within this or counts as not answering.
TIMEOUT = 15.0
# Watches are long connections of their own: some per namespace.
MAX_CONNECTIONS = 512


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class Status(Object, frozen=True):
    """The API's error body."""

    message: str = ""
    code: int = 0


class Page(msgspec.Struct, frozen=True):
    """One page of a list."""

    items: tuple[Object, ...]
    resource_version: str
    continue_token: str


class Client:
    """Use as an async context manager. Raises ApiError and UnreachableError."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        scheme = "http" if server.tls is None else "https"
        host = f"[{server.host}]" if ":" in server.host else server.host
        self.where = f"{server.host}:{server.port}"
        self._http = httpx.AsyncClient(
            base_url=f"{scheme}://{host}:{server.port}{server.prefix}",
            verify=server.tls or True,
            http2=False,
            trust_env=False,
            timeout=TIMEOUT,
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=4),
            headers={"User-Agent": "portside", "Accept": "application/json"},
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, value, traceback)

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        body = await self._read(f"{_path(kind, namespace)}/{quote(name)}", {})
        return _decoded(body, kind.decodes_to)

    async def page(self, watch: Watch, continue_token: str = "") -> Page:
        """One page of the list; an empty token asks for the first."""
        query = {"limit": str(PAGE)} | _selectors(watch) | ({"continue": continue_token} if continue_token else {})
        body = await self._read(_path(watch.kind, watch.namespace), query)
        found = _decoded(body, _List)
        items = _decoded(bytes(found.items), tuple[watch.kind.decodes_to, ...] | None)  # type: ignore[name-defined, arg-type] # made at run time
        return Page(items or (), found.metadata.resource_version, found.metadata.continue_)

    @asynccontextmanager
    async def watch(self, watch: Watch, resource_version: str, seconds: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """The raw body of one watch request, in pieces; the server ends it after `seconds`."""
        query = _selectors(watch) | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
        }
        # A watch may be silent; the server's own end plus some seconds is the bound on that.
        timeout = httpx.Timeout(TIMEOUT, read=seconds + TIMEOUT)
        async with self._request(_path(watch.kind, watch.namespace), query, timeout) as response:
            yield self._pieces(response)

    async def _pieces(self, response: httpx.Response) -> AsyncIterator[bytes]:
        try:
            async for piece in response.aiter_bytes():
                yield piece
        except (httpx.HTTPError, httpx.StreamError, ssl.SSLError) as error:
            raise UnreachableError(f"the watch of {self.where} broke off: {_said(error)}") from error

    async def _read(self, path: str, query: Mapping[str, str]) -> bytes:
        async with self._request(path, query, httpx.Timeout(TIMEOUT)) as response:
            try:
                return await response.aread()
            except (httpx.HTTPError, ssl.SSLError) as error:
                raise UnreachableError(f"the API server {self.where} broke off: {_said(error)}") from error

    @asynccontextmanager
    async def _request(
        self, path: str, query: Mapping[str, str], timeout: httpx.Timeout
    ) -> AsyncIterator[httpx.Response]:
        response = await self._send(path, query, timeout, renew=False)
        if response.status_code == 401:
            await response.aclose()
            response = await self._send(path, query, timeout, renew=True)
        try:
            if response.status_code >= 400:
                raise await self._error(response)
            yield response
        finally:
            await response.aclose()

    async def _send(
        self, path: str, query: Mapping[str, str], timeout: httpx.Timeout, *, renew: bool
    ) -> httpx.Response:
        headers = await self._server.authorize(renew)
        extensions = {"sni_hostname": self._server.server_name}
        request = self._http.build_request(
            "GET", path, params=dict(query), headers=headers, timeout=timeout, extensions=extensions
        )
        try:
            return await self._http.send(request, stream=True)
        except (httpx.HTTPError, ssl.SSLError, OSError) as error:
            raise UnreachableError(f"the API server {self.where} does not answer: {_said(error)}") from error

    async def _error(self, response: httpx.Response) -> ApiError:
        try:
            message = _decoded(await response.aread(), Status).message
        except (httpx.HTTPError, ApiError):
            message = ""
        code = response.status_code
        return ApiError(message or f"the API server {self.where} answered HTTP {code}", code)


def _path(kind: Kind, namespace: str) -> str:
    return f"{kind.path}/namespaces/{quote(namespace)}/{kind.plural}" if namespace else f"{kind.path}/{kind.plural}"


def _selectors(watch: Watch) -> dict[str, str]:
    selectors = {"labelSelector": watch.label_selector, "fieldSelector": watch.field_selector}
    return {name: value for name, value in selectors.items() if value}


class _List(msgspec.Struct, frozen=True):
    metadata: _ListMeta
    items: msgspec.Raw = msgspec.Raw(b"null")


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise ApiError(f"the API server's answer is not what it should be: {error}", 0) from error


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
