"""Owns who may ask: which Hosts, which methods, and with which token. One refusal, or none.

Web pages elsewhere are to find nothing: not by a name that leads here (DNS rebinding), not by a form, image or script.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import socket
from http import HTTPStatus

from watcher.board.http.messages import Answer, Request, text

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# Whoever watches over this process needs no token, and learns nothing but the names of what is not ready.
FREE = frozenset({"/healthz", "/readyz"})

# RFC 9110 7.2: uri-host [ ":" port ], without user information, which a Host never has.
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::\d{0,5})?")


class Guard:
    """`token`: what a question must carry; "" where this machine's own users alone can ask."""

    def __init__(self, token: str = "") -> None:
        self._token = token.encode()
        # A browser sends cookies to every port of a host, so to forwarded applications too: ours is not the token.
        self._session = secrets.token_urlsafe(32)
        self._hostname = socket.gethostname().lower()

    def refusal(self, request: Request) -> Answer | None:
        """Why `request` is not answered, or None."""
        if not self._is_ours(request):
            return text("this is not a name of this portside's address", HTTPStatus.BAD_REQUEST)
        if request.method not in {"GET", "HEAD"}:
            return text("nothing can be changed here", HTTPStatus.METHOD_NOT_ALLOWED, ("Allow", "GET, HEAD"))
        if _is_from_another_site(request):
            return text("pages of other sites may link here, and nothing else", HTTPStatus.FORBIDDEN)
        if not self._token or request.path in FREE or self._knows(request):
            return None
        if request.path == "/" and self._matches(request.query.get("token", "")):
            cookie = f"{_cookie_name(request)}={self._session}; Path=/; HttpOnly; SameSite=Strict"
            return text("this way", HTTPStatus.SEE_OTHER, ("Location", "/"), ("Set-Cookie", cookie))
        return text(
            "this address needs its token: open /?token=TOKEN once, or send Authorization: Bearer TOKEN",
            HTTPStatus.UNAUTHORIZED,
            ("WWW-Authenticate", "Bearer"),
        )

    def _is_ours(self, request: Request) -> bool:
        """Whether Host is a name of the address that was asked; a target with a host of its own is a proxy's."""
        found = _HOST.fullmatch(request.header("host"))
        if found is None or not request.target.startswith("/"):
            return False
        name = (found["v6"] or found["name"]).lower()
        local = _plain(request.local[0])
        try:
            address = _plain(name)
        except ValueError:
            return name in LOOPBACK or (name == self._hostname and not local.is_loopback)
        return address == local or str(address) in LOOPBACK

    def _knows(self, request: Request) -> bool:
        scheme, _, given = request.header("authorization").partition(" ")
        if scheme.lower() == "bearer" and self._matches(given.strip()):
            return True
        return hmac.compare_digest(request.cookie(_cookie_name(request)).encode(), self._session.encode())

    def _matches(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token)


def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """A socket of both families writes IPv4 addresses as ::ffff:1.2.3.4. Raises ValueError."""
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def _is_from_another_site(request: Request) -> bool:
    """A browser's own word (Fetch Metadata); a page of a forwarded application is such another one."""
    site, mode = request.header("sec-fetch-site"), request.header("sec-fetch-mode")
    return site in {"cross-site", "same-site"} and mode != "navigate"


def _cookie_name(request: Request) -> str:
    return f"portside-{request.local[1]}"
