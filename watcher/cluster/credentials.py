"""Owns the way from a kubeconfig to an ApiServer that always has valid credentials: loaded late, in a thread.

Refuses to log or keep anything secret beyond the header and the TLS context that connections need.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
import trio

from forwarders.transports.server import ApiServer, Headers
from watcher.cluster import login, tls
from watcher.cluster.errors import KubeconfigError, RenewalError
from watcher.cluster.kubeconfig import Selected
from watcher.cluster.login import Login
from watcher.cluster.proxies import proxy_for

logger = logging.getLogger("portside.cluster")

# Many requests meet a 401 at once, and a dead token keeps them coming, up to ten a second: they share what was read
# within this. A file is cheap to read, and its new token is to be used within a second; a plugin is a process.
SHARED_FOR, ASKED_FOR = 0.1, 0.5
# Fields of a user whose reading may run a command or ask a server.
_RUNS_SOMETHING = {"exec", "auth-provider"}

T = TypeVar("T")


@dataclass(frozen=True)
class ClusterConfig:
    """One context, loaded. `namespace`: the context's, "" where it names none. `source`: the file(s), for messages."""

    server: ApiServer
    context: str
    namespace: str
    source: str


async def load(kubeconfig: str | None, context: str | None) -> ClusterConfig:
    """The context asked for (None: the current one) of a file (None: $KUBECONFIG, ~/.kube/config, else in-cluster).

    Raises KubeconfigError. An exec plugin may talk to the user for as long as it takes.
    """
    found = await _in_thread(partial(login.read, kubeconfig, context))
    return await _in_thread(partial(_config, found, kubeconfig))


async def _in_thread(work: Callable[[], T], limiter: trio.CapacityLimiter | None = None) -> T:
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)


def _config(found: Login, kubeconfig: str | None) -> ClusterConfig:
    selected = found.selected
    host, port, prefix, https = _address(selected)
    server_name = str(selected.cluster.get("tls-server-name") or host)
    if not _is_host(server_name):
        selected.refuse("cluster", "tls-server-name", f'"{server_name}" is no name of a host')
    context = tls.client_context(selected, found.chain) if https else None
    again = partial(login.read, kubeconfig, selected.context or None)
    return ClusterConfig(
        server=ApiServer(
            host=host,
            port=port,
            prefix=prefix,
            tls=context,
            server_name=server_name,
            authorize=Authority(found, context, again),
            proxy=proxy_for(selected, host, port, https=https),
        ),
        context=selected.context,
        namespace=selected.namespace,
        source=selected.source,
    )


def _address(selected: Selected) -> tuple[str, int, str, bool]:
    """Host, port, prefix and whether by TLS. Without a scheme it is https where TLS is set up, as in client-go."""
    server = str(selected.cluster.get("server") or "")
    if not server:
        selected.refuse("cluster", "server", "is missing")
    if "://" not in server:
        secure = any(name.startswith(("certificate-", "insecure-")) for name in selected.cluster)
        secure = secure or any(name.startswith("client-certificate") for name in selected.user)
        server = f"{'https' if secure else 'http'}://{server}"
    try:
        url = urlsplit(server)
        port = url.port or (443 if url.scheme == "https" else 80)
    except ValueError:
        url, port = urlsplit(""), 0
    if url.scheme not in {"http", "https"} or not url.hostname or not _is_host(url.hostname):
        selected.refuse("cluster", "server", f'"{_without_password(server)}" is no http or https URL with a valid port')
    return url.hostname, port, url.path.rstrip("/"), url.scheme == "https"


def _is_host(name: str) -> bool:
    """Whether it can be looked up and stand in a request; what comes after would fail in ways of its own."""
    try:
        name.encode("idna")
        return httpx.URL(scheme="https", host=name).host == name.lower()
    except (UnicodeError, httpx.InvalidURL):
        return False


def _without_password(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    return scheme + mark + rest.rpartition("@")[2]


class Authority:
    """ApiServer.authorize: the headers that authenticate a request, read again shortly before they end and after a 401.

    Whoever was refused while they are being read waits for that one reading; others go on with what is still good. It
    happens in a thread.
    """

    def __init__(self, found: Login, context: ssl.SSLContext | None, again: Callable[[], Login]) -> None:
        self._login = found
        self._context = context
        self._again = again
        self._lock = trio.Lock()
        # A plugin that hangs keeps its thread and its process, whoever gave up on it: there shall be one such.
        self._one = trio.CapacityLimiter(1)
        self._read_at: float | None = None
        self._due: float | None = None
        self._failure = ""

    async def __call__(self, renew: bool) -> Headers:  # noqa: FBT001 - ApiServer's signature
        """Raises RenewalError where the renewal that was asked for failed."""
        if self._due is None:
            self._due = _due(self._login)
        due = trio.current_time() >= self._due and not self._lock.locked()
        if renew or due:
            await self._renew()
            if renew and self._failure:
                raise RenewalError(self._failure)
        return [("Authorization", self._login.header)] if self._login.header else []

    async def _renew(self) -> None:
        async with self._lock:
            shared_for = ASKED_FOR if self._login.selected.user.keys() & _RUNS_SOMETHING else SHARED_FOR
            if self._read_at is not None and trio.current_time() - self._read_at < shared_for:
                return
            try:
                found = await _in_thread(self._again, self._one)
                if self._context is not None and found.chain is not None and found.chain != self._login.chain:
                    tls.use_chain(self._context, found.chain, found.selected)
                self._login, self._failure = found, ""
            except KubeconfigError as error:
                # The old ones may still be good: a 401 will tell.
                if str(error) != self._failure:
                    logger.warning("credentials could not be renewed: %s", error)
                self._failure = str(error)
            self._read_at = trio.current_time()
            self._due = _due(self._login)


def _due(found: Login) -> float:
    return float("inf") if found.life is None else trio.current_time() + found.life
