"""Owns where Skaffold's HTTP API is: a URL to host and port, and a port for a Skaffold that we start.

Refuses https and paths: Skaffold serves plain HTTP on the loopback interface (pkg/skaffold/server/server.go).
"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from msgspec import Struct

from watcher.errors import UsageError


class ApiAddress(Struct, frozen=True):
    """Where Skaffold listens with --rpc-http-port."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        """As in a Host header (RFC 9110, 7.2)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.authority}"


def parse_address(text: str) -> ApiAddress:
    """`http://host:port`, `host:port` or a bare port of this machine. Raises UsageError for anything else."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        text = f"127.0.0.1:{text}"
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme != "http" or parts.path not in {"", "/"} or parts.query or parts.username or not host or not port:
        shown = text.rpartition("@")[2]  # never a password
        raise UsageError(f"{shown!r} is no address of Skaffold's API; write http://127.0.0.1:PORT (--rpc-http-port)")
    return ApiAddress(host, port)


def free_port() -> int:
    """A TCP port that is free on 127.0.0.1 now.

    Skaffold binds the port itself and does not say which one it was given for port 0, so it has to be told a number,
    and between this call and Skaffold's bind another program may take it. Then Skaffold says so and exits with 1.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
