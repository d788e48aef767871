"""The network below httpx: connects to the API server, also through a proxy, reads bodies, explains failures.

Bodies are bounded, and undo at most one content coding: httpx would undo any number at once, and 3 kB of `gzip, gzip`
become gigabytes. httpx's own proxy support is not used: it checks the certificate for the server's address instead of
tls-server-name, and sends plain http without CONNECT.
"""

from __future__ import annotations

import socket
import ssl
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from functools import partial

import httpcore
import httpx
import trio

from forwarders.errors import ProxyError
from forwarders.system.tcp import api_server_options, error_text
from forwarders.transports.api_server import ApiServer
from forwarders.transports.connecting import first_connected
from forwarders.transports.proxy import Proxy, connect_through
from watcher.errors import MalformedError

# Each watch holds a connection: 8 kinds in 60 namespaces. Further requests fail after the connect time-out.
MAX_CONNECTIONS = 512
# Connections, and seconds. Idle connections save little: the watch follows its list at once.
MAX_IDLE, IDLE_FOR = 8, 5.0
READ_SIZE = 64 * 1024


def transport(server: ApiServer) -> httpx.AsyncHTTPTransport:
    """The httpx transport that connects to one API server as its kubeconfig says."""
    made = httpx.AsyncHTTPTransport(verify=server.tls or True, trust_env=False)
    # httpx has no parameter for httpcore's network backend.
    made._pool = httpcore.AsyncConnectionPool(
        ssl_context=server.tls,
        max_connections=MAX_CONNECTIONS,
        max_keepalive_connections=MAX_IDLE,
        keepalive_expiry=IDLE_FOR,
        network_backend=RacingBackend(server.proxy),
        socket_options=api_server_options(),  # a watch is silent for minutes: keep-alive notices a dead network
    )
    return made


class RacingBackend(httpcore.TrioBackend):
    """Connects to the API server, through a proxy if there is one.

    It starts further attempts while a SYN is unanswered, as sessions do: a restored path is used within a second.
    """

    def __init__(self, proxy: Proxy | None) -> None:
        super().__init__()
        self._proxy = proxy

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """`timeout` covers all attempts and the tunnel. Raises httpcore.ConnectError, ConnectTimeout, ProxyError."""
        proxy = self._proxy
        place = (host, port) if proxy is None else (proxy.host, proxy.port)
        connect = partial(super().connect_tcp, *place, local_address=local_address, socket_options=socket_options)
        try:
            with trio.fail_after(float("inf") if timeout is None else timeout):
                stream = await first_connected(connect, httpcore.ConnectError)
                return stream if proxy is None else await _through(stream, proxy, host, port)
        except trio.TooSlowError as error:
            text = f"no answer within {timeout} s" if proxy is None else f"the proxy {proxy} gave no connection in time"
            raise httpcore.ConnectTimeout(text) from error


async def _through(
    stream: httpcore.AsyncNetworkStream, proxy: Proxy, host: str, port: int
) -> httpcore.AsyncNetworkStream:
    """Asks the proxy at the other end of `stream` to connect to `host`. Closes `stream` on any failure."""
    try:
        if proxy.tls is not None:
            stream = await stream.start_tls(proxy.tls, proxy.host)
        await connect_through(_HttpcoreStream(stream), proxy, host, port)
    except ProxyError as error:
        await stream.aclose()
        raise httpcore.ProxyError(str(error)) from error
    except BaseException:
        with trio.CancelScope() as scope:
            scope.cancel()  # close without waiting
            await stream.aclose()
        raise
    return stream


class _HttpcoreStream:
    """Makes httpcore's stream a ByteStream. The caller sets the deadlines."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def receive(self) -> bytes:
        return await self._stream.read(READ_SIZE)

    async def send(self, data: bytes) -> None:
        await self._stream.write(data)


def why(error: BaseException) -> str:
    """Why a connection failed, in a few words, without headers or bodies of the request."""
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message}): see certificate-authority"
    for cause in chain:
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed ({(cause.reason or 'no reason').lower().replace('_', ' ')})"
        if isinstance(cause, socket.gaierror):
            again = cause.errno == socket.EAI_AGAIN
            return "its name was not resolved: no answer from DNS" if again else "its name is not known"
        if isinstance(cause, OSError) and cause.errno:
            return error_text(cause.errno)  # trio's text repeats the address
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return str(error) or type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error` and its causes, breadth first. trio groups the failures of several addresses."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        cause = waiting.pop(0)
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [*getattr(cause, "exceptions", ()), cause.__cause__, cause.__context__]


# Bytes of a list, over all its pages, and of any other body: 40,000 pods of 6 kB.
MAX_BODY = 256 * 1024 * 1024
# Bytes of one piece: unpacked in some 0.1 ms.
PIECE = 64 * 1024
# Characters of a header quoted in an error.
LONGEST_NAME = 100
# zlib's window for gzip, header and trailer checked.
_GZIP = 16 + zlib.MAX_WBITS


def unpacked(response: httpx.Response, raw: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Decompresses the body from its `raw` bytes. Raises MalformedError for a coding that was not requested."""
    codings = [coding.strip().lower() for coding in response.headers.get("Content-Encoding", "").split(",")]
    known = [coding for coding in codings if coding not in {"", "identity"}]
    if known in (["gzip"], ["x-gzip"]):
        return _gunzipped(raw)
    if known:
        named = ", ".join(known)[:LONGEST_NAME]
        raise MalformedError(f"the API server's answer has the content coding {named}: only gzip was asked for")
    return raw


async def _gunzipped(raw: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    decoder = zlib.decompressobj(_GZIP)
    try:
        async for data in raw:
            left = data
            while not decoder.eof:
                piece = decoder.decompress(left, PIECE)
                if not (piece or left):
                    break
                left = decoder.unconsumed_tail
                if piece:
                    yield piece
                    await trio.lowlevel.checkpoint()
    except zlib.error as error:
        raise MalformedError(f"the API server's answer cannot be unpacked: {error}") from None
    if not decoder.eof:
        raise MalformedError("the API server's answer ends in the middle of its compressed data")


async def read_body(pieces: AsyncIterator[bytes], room: int) -> bytes:
    """Read the whole body of a response. Raises MalformedError for more than `room` bytes."""
    parts: list[bytes] = []
    size = 0
    async for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size > room:
            raise MalformedError(f"the API server's answer is longer than {MAX_BODY >> 20} MiB")
    return b"".join(parts)


async def drain(pieces: AsyncIterator[bytes]) -> None:
    """Read the rest of a response's body and discard it."""
    try:
        async for _ in pieces:
            pass
    except httpx.HTTPError:
        return  # discarded anyway; the first failure has been reported
