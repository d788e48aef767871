"""Loads one context of a kubeconfig: an API server's address, trust, proxy, and credentials that stay valid."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

import httpx
import trio

from forwarders.transports.server import ApiServer
from watcher.cluster import login, tls
from watcher.cluster.authority import CredentialProvider, expired
from watcher.cluster.kubeconfig import SelectedContext
from watcher.cluster.proxies import proxy_for

logger = logging.getLogger("portside.cluster")


@dataclass(frozen=True)
class ClusterConfig:
    """One context, loaded. `namespace`: the context's, "" where it names none. `source`: the file(s), for messages.

    `asked`: the kubeconfig that was asked for, None for the usual ones. `problem`: why its credentials are no good.
    """

    server: ApiServer
    context: str
    namespace: str
    source: str
    asked: str | None
    selected: SelectedContext
    credentials: CredentialProvider = field(repr=False)
    problem: str = ""

    @property
    def title(self) -> str:
        """What people call it."""
        return self.context or "of the cluster that this runs in"


async def load_cluster_config(kubeconfig: str | None, context: str | None, *, starting: bool = True) -> ClusterConfig:
    """The context asked for (None: the current one) of a file (None: $KUBECONFIG, ~/.kube/config, else in-cluster).

    Raises KubeconfigError. `starting`: a login plugin may talk to the user, whose terminal shows nothing else yet.
    """
    found = await login.read_credentials(kubeconfig, context, starting=starting)
    selected = found.selected
    # The context by name: it stays ours where an edit makes another one current.
    again = partial(login.read_credentials, kubeconfig, selected.context or None)
    credentials = CredentialProvider(found, None, again)
    server = await trio.to_thread.run_sync(server_of, selected, credentials)
    if problem := expired(found):
        logger.warning("%s", problem)
    return ClusterConfig(
        server, selected.context, selected.namespace, selected.source, kubeconfig, selected, credentials, problem
    )


def server_of(selected: SelectedContext, credentials: CredentialProvider) -> ApiServer:
    """The selected cluster; `credentials` show their certificate there from now on. Raises KubeconfigError."""
    host, port, prefix, https = _address(selected)
    server_name = str(selected.cluster.get("tls-server-name") or host)
    if not _is_host(server_name):
        selected.refuse("cluster", "tls-server-name", f'"{server_name}" is no name of a host')
    context = tls.client_context(selected) if https else None
    proxy = proxy_for(selected, host, port, https=https)
    credentials.use(context)
    return ApiServer(
        host=host,
        port=port,
        prefix=prefix,
        tls=context,
        server_name=server_name,
        authorize=credentials,
        proxy=proxy,
    )


def _address(selected: SelectedContext) -> tuple[str, int, str, bool]:
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
