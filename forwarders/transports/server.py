"""Owns the value that says how to reach one API server. Refuses to read kubeconfig: the caller has done that."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from forwarders.transports.proxy import Proxy, authority

Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class ApiServer:
    """One Kubernetes API server as a transport needs it.

    `prefix`: path before /api ("" or e.g. "/k8s/clusters/c-1"), without a trailing slash.
    `tls`: None for plain http (kubectl proxy). `server_name`: what the certificate must name.
    `authorize(renew)`: headers that authenticate a request (empty with client certificates); `renew=True` after a 401.
    It raises TransportError and nothing else. `proxy`: the way there leads through it.
    """

    host: str
    port: int
    prefix: str
    tls: ssl.SSLContext | None
    server_name: str
    authorize: Callable[[bool], Awaitable[Headers]]
    proxy: Proxy | None = None

    @property
    def url(self) -> str:
        """Where requests go, for httpx and for messages."""
        return f"{'http' if self.tls is None else 'https'}://{authority(self.host, self.port)}{self.prefix}"

    async def authorize_after(self, refused: Headers) -> Headers:
        """After a 401: other headers than the refused ones, if somebody has renewed them meanwhile, else new ones."""
        now = await self.authorize(False)  # noqa: FBT003 - its only argument
        return now if now != refused else await self.authorize(True)  # noqa: FBT003
