"""Serves the status address with h11: one request for each connection, refused or answered, then closed.

Every step has a deadline and the number of connections is bounded: a stuck client costs one connection for a while and
never slows down a forward. (hypercorn was not used: it shields its writes from cancellation, so one client that never
reads would keep the whole program from ending.)
"""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import logging
import re
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus

import h11
import trio

from forwarders.tasks import contained
from watcher.board.http import StatusRequest, StatusResponse, plain_text

logger = logging.getLogger("portside.status")

Respond = Callable[[StatusRequest], Awaitable[StatusResponse]]

# People, scripts and browsers; each connection costs a file descriptor that a forward may need. Others wait in the
# kernel.
MAX_CONNECTIONS = 128
# Seconds. A client sends its request at once, or it is no client.
REQUEST_TIMEOUT = 5.0
# Seconds. A client that takes nothing for so long is stuck; it may connect again.
WRITE_TIMEOUT = 30.0
# Seconds for the close to arrive behind the last bytes.
CLOSE_TIMEOUT = 1.0
ACCEPT_PAUSE = 0.1
MAX_REQUEST = 16 * 1024
CHUNK = 64 * 1024

# Headers of every response: nothing is loaded from elsewhere, guessed, cached or shown inside another page.
HEADERS = (
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
    ("Connection", "close"),
)

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# Paths without a token, for programs that supervise this process. They tell only the names of what is not ready.
PUBLIC = frozenset({"/healthz", "/readyz"})

# Paths that change something. A browser sends this header for a page of another site only after it has asked in a
# preflight request, which is refused here.
ACTIONS = frozenset({"/v1/test", "/v1/retry"})
ACTION_HEADER = "x-portside"

# RFC 9110 7.2: uri-host [ ":" port ]. A Host header never has user information.
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::\d{0,5})?")


class Guard:
    """Refuses requests of other web sites (DNS rebinding, forms, images, scripts), and those without the token.

    `token`: what a request must carry, "" if only this machine's users can connect. `loopback`: the address is bound on
    loopback; elsewhere nothing can be changed without a token.
    """

    def __init__(self, token: str = "", *, loopback: bool = True) -> None:
        self._token = token.encode()
        self._loopback = loopback
        # Not the token itself: a browser sends cookies to every port of a host, so to forwarded applications too.
        self._session = secrets.token_urlsafe(32)
        self._hostname = socket.gethostname().lower()

    def refusal(self, request: StatusRequest) -> StatusResponse | None:
        """The response to a request that must not be answered, or None."""
        if not self._is_for_us(request):
            return plain_text("the Host header does not name this address", HTTPStatus.BAD_REQUEST)
        allowed = {"POST"} if request.path in ACTIONS else {"GET", "HEAD"}
        if request.method not in allowed:
            words = ", ".join(sorted(allowed))
            return plain_text(f"only {words} is allowed here", HTTPStatus.METHOD_NOT_ALLOWED, ("Allow", words))
        if _is_from_another_site(request):
            return plain_text("other sites may link to this address, but not load from it", HTTPStatus.FORBIDDEN)
        if request.method == "POST" and (problem := self._action_problem(request)):
            return plain_text(problem, HTTPStatus.FORBIDDEN)
        return self._unauthenticated(request)

    def _unauthenticated(self, request: StatusRequest) -> StatusResponse | None:
        """The response to a request without the token, where one is needed."""
        if not self._token or request.path in PUBLIC or self._is_authenticated(request):
            return None
        if request.path == "/" and self._is_token(request.query.get("token", "")):
            cookie = f"{_cookie_name(request)}={self._session}; Path=/; HttpOnly; SameSite=Strict"
            return plain_text("see /", HTTPStatus.SEE_OTHER, ("Location", "/"), ("Set-Cookie", cookie))
        return plain_text(
            "this address needs its token: open /?token=TOKEN once, or send Authorization: Bearer TOKEN",
            HTTPStatus.UNAUTHORIZED,
            ("WWW-Authenticate", "Bearer"),
        )

    def _action_problem(self, request: StatusRequest) -> str:
        """Why this request may change nothing, whatever token it carries; "" if it may."""
        if not request.header(ACTION_HEADER):
            return f"this needs the header {ACTION_HEADER.title()}: 1, which no page of another site can send"
        origin = request.header("origin")
        if origin and origin.partition("://")[2].lower() != request.header("host").lower():
            return "a page of another site may change nothing here"
        if not self._token and not self._loopback:
            return "beyond loopback this needs a token: set --status-token-file"
        return ""

    def _is_for_us(self, request: StatusRequest) -> bool:
        """Whether Host names the address that received the request. An absolute target is meant for a proxy."""
        parsed = _HOST.fullmatch(request.header("host"))
        if parsed is None or not request.target.startswith("/"):
            return False
        name = (parsed["v6"] or parsed["name"]).lower()
        local = _ip_address(request.local[0])
        try:
            address = _ip_address(name)
        except ValueError:
            return name in LOOPBACK or (name == self._hostname and not local.is_loopback)
        return address == local or str(address) in LOOPBACK

    def _is_authenticated(self, request: StatusRequest) -> bool:
        scheme, _, given = request.header("authorization").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.strip()):
            return True
        return hmac.compare_digest(request.cookie(_cookie_name(request)).encode(), self._session.encode())

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token)


def _ip_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Parse an IP address; ::ffff:1.2.3.4, as sockets of both families have it, is an IPv4 one. Raises ValueError."""
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def _is_from_another_site(request: StatusRequest) -> bool:
    """Whether the browser says (Fetch Metadata) that another site's page sent this: a forwarded application's, too."""
    site, mode = request.header("sec-fetch-site"), request.header("sec-fetch-mode")
    return site in {"cross-site", "same-site"} and (mode != "navigate" or request.method == "POST")


def _cookie_name(request: StatusRequest) -> str:
    return f"portside-{request.local[1]}"


async def serve(sock: socket.socket, respond: Respond, guard: Guard) -> None:
    """Serve the status address until cancelled. The caller closes `sock`."""
    listener = trio.socket.from_stdlib_socket(sock)
    free = trio.Semaphore(MAX_CONNECTIONS)

    async def serve_one(accepted: trio.socket.SocketType) -> None:
        try:
            with contained(logger, "a request to the status address"):
                await StatusConnection(trio.SocketStream(accepted), respond, guard).run()
        finally:
            free.release()

    async with trio.open_nursery() as nursery:
        while True:
            await free.acquire()
            try:
                accepted, _ = await listener.accept()
            except OSError:
                free.release()
                await trio.sleep(ACCEPT_PAUSE)  # the client has gone already, or no file descriptor is free
            else:
                nursery.start_soon(serve_one, accepted)


class StatusConnection:
    """One connection to the status address: one request and its response."""

    def __init__(self, stream: trio.SocketStream, respond: Respond, guard: Guard) -> None:
        self._stream = stream
        self._respond = respond
        self._guard = guard
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST)

    async def run(self) -> None:
        """Answer the request; end quietly if the client disconnects or does not speak HTTP."""
        try:
            async with self._stream:
                await self._serve()
        except* (OSError, trio.BrokenResourceError, h11.RemoteProtocolError, trio.TooSlowError):
            pass

    async def _serve(self) -> None:
        with trio.fail_after(REQUEST_TIMEOUT):
            try:
                request = await self._request()
            except h11.RemoteProtocolError as error:
                refusal = plain_text(f"this is no HTTP/1.1 request: {error}", HTTPStatus(error.error_status_hint))
                await self._answer(refusal, head=False)
                return
        if request is not None:
            response = self._guard.refusal(request) or await self._respond(request)
            await self._answer(response, head=request.method == "HEAD")

    async def _request(self) -> StatusRequest | None:
        """Read the request; None if the client closed the connection instead."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._stream.receive_some(CHUNK))
        if not isinstance(event, h11.Request):
            return None
        headers = tuple((name.decode(), value.decode("latin-1")) for name, value in event.headers)
        local = self._stream.socket.getsockname()
        return StatusRequest(event.method.decode(), event.target.decode("latin-1"), headers, (local[0], local[1]))

    async def _answer(self, response: StatusResponse, *, head: bool) -> None:
        own = {name.lower() for name, _ in response.headers}
        headers = [pair for pair in HEADERS if pair[0].lower() not in own]
        headers += [("Content-Type", response.media_type), *response.headers]
        if response.stream is None:
            headers.append(("Content-Length", str(len(response.body))))
        start = h11.Response(status_code=response.status, headers=headers)
        if head or response.stream is None:
            await self._send(start, *([] if head else [h11.Data(data=response.body)]))
        else:
            async with response.stream as pieces:
                await self._send(start)
                await self._send_pieces(pieces)
        await self._send(h11.EndOfMessage())
        await self._close_gently()

    async def _send_pieces(self, pieces: AsyncIterator[bytes]) -> None:
        """Sends each piece until the stream ends or the client disconnects."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_disconnected, nursery.cancel_scope)
            async for piece in pieces:
                await self._send(h11.Data(data=piece))
            nursery.cancel_scope.cancel()

    async def _until_disconnected(self, scope: trio.CancelScope) -> None:
        with contextlib.suppress(OSError, trio.BrokenResourceError):
            while await self._stream.receive_some(CHUNK):
                pass
        scope.cancel()

    async def _send(self, *events: h11.Event) -> None:
        data = b"".join(self._http.send(event) or b"" for event in events)
        with trio.fail_after(WRITE_TIMEOUT):
            await self._stream.send_all(data)

    async def _close_gently(self) -> None:
        """Half-close, then read to the end: a close with unread bytes would reset what the client still reads."""
        with trio.move_on_after(CLOSE_TIMEOUT):
            await self._stream.send_eof()
            while await self._stream.receive_some(CHUNK):
                pass
