"""Loads one context of a kubeconfig (address, trust, proxy, credentials), and follows edits of it.

minikube, kind and k3d rewrite the kubeconfig whenever a cluster comes back. An edit that cannot be used is one warning,
and the previous settings stay.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Never
from urllib.parse import quote, urlsplit

import httpx
import trio
from msgspec import Struct

from forwarders.backoff import Backoff
from forwarders.transports.api_server import ApiServer
from watcher.cluster import credentials, kubeconfig, tls
from watcher.cluster.credential_provider import CredentialProvider, expired
from watcher.cluster.kubeconfig import FILE_FIELDS, SelectedContext
from watcher.cluster.proxies import proxy_for
from watcher.errors import KubeconfigError, RenewalError
from watcher.user_files import change_since, edited_since, stamps

logger = logging.getLogger("portside.cluster")

# Marks of an RFC 3986 path; "%" begins a byte that is encoded already.
_PATH_MARKS = "/:@!$&'()*+,;=-._~%"


class ClusterConfig(Struct, frozen=True):
    """One loaded context. `namespace`: the context's, or "". `source`: the files, for messages.

    `asked`: the given kubeconfig, None for the default ones. `problem`: why the credentials cannot work.
    `read_at`: when reading began, in ns since 1970.
    """

    server: ApiServer
    context: str
    namespace: str
    source: str
    asked: str | None
    selected: SelectedContext
    credentials: CredentialProvider
    problem: str = ""
    read_at: int = 0

    def __repr__(self) -> str:
        return f"ClusterConfig({self.title})"  # credentials are secrets

    @property
    def title(self) -> str:
        """The cluster's name in messages."""
        return self.context or "of the cluster that this runs in"


async def load_cluster_config(kubeconfig: str | None, context: str | None, *, starting: bool = True) -> ClusterConfig:
    """Loads the given context (None: the current one) of a file (None: $KUBECONFIG, ~/.kube/config, else in-cluster).

    `starting`: the terminal is still free, so a login plugin may ask the user. Raises KubeconfigError.
    """
    read_at = time.time_ns()
    found = await credentials.read_credentials(kubeconfig, context, starting=starting)
    selected = found.selected
    # By name: an edit may make another context current.
    again = partial(credentials.read_credentials, kubeconfig, selected.context or None)
    provider = CredentialProvider(found, again)
    server = await credentials.read_in_time(partial(server_of, selected, provider))
    provider.use(server.tls)
    if problem := expired(found):
        logger.warning("%s", problem)
    return ClusterConfig(
        server, selected.context, selected.namespace, selected.source, kubeconfig, selected, provider, problem, read_at
    )


def server_of(selected: SelectedContext, credentials: CredentialProvider) -> ApiServer:
    """Makes the ApiServer of a context; may run in a thread, so its caller tells `credentials` of its TLS.

    Raises KubeconfigError.
    """
    host, port, prefix, https = _address(selected)
    server_name = selected.text("cluster", "tls-server-name") or host
    if not _is_host(server_name):
        selected.refuse("cluster", "tls-server-name", f'"{server_name}" is not a host name')
    context = tls.client_context(selected) if https else None
    proxy = proxy_for(selected, host, port, https=https)
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
    """Host, port, prefix, and whether by TLS. A URL without a scheme is https if TLS is configured, as in client-go."""
    server = selected.text("cluster", "server")
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
        shown = _without_password(server)
        selected.refuse("cluster", "server", f'"{shown}" is not an http or https URL with a valid port')
    return url.hostname, port, quote(url.path.rstrip("/"), safe=_PATH_MARKS), url.scheme == "https"


def _is_host(name: str) -> bool:
    """Whether this is a host name that can be looked up and sent in a request."""
    try:
        name.encode("idna")
        return httpx.URL(scheme="https", host=name).host == name.lower()
    except (UnicodeError, httpx.InvalidURL):
        return False


def _without_password(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    return scheme + mark + rest.rpartition("@")[2]


# The fields of a user that name a client certificate.
_CERTIFICATES = {"client-certificate", "client-certificate-data"}
# Seconds until the files are read a second time: the first connections need the processor more.
LOOK_AFTER = 1.0
# Seconds until the next try after a bug, doubling.
FIRST_PAUSE, LAST_PAUSE = 1.0, 60.0
# Seconds to get credentials for the new server before using it anyway: a plugin may take longer.
CREDENTIALS_FIRST = 2.0


async def follow_kubeconfig(config: ClusterConfig, moved: Callable[[ApiServer], Awaitable[None]]) -> Never:
    """Keeps the credentials valid, and calls `moved` if an edit names another server. Runs until cancelled."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(config.credentials.run)
        await _Follower(config, moved).run()


class _Follower:
    def __init__(self, config: ClusterConfig, moved: Callable[[ApiServer], Awaitable[None]]) -> None:
        self._config = config
        self._moved = moved
        self._selected = config.selected
        self._used_settings: tuple[object, object] | None = None
        self._problem = ""

    async def run(self) -> Never:
        pauses = Backoff(Random(), FIRST_PAUSE, LAST_PAUSE)  # noqa: S311 - jitter
        await trio.sleep(LOOK_AFTER)
        while self._config.context:  # a pod's service account has neither a context nor a kubeconfig
            try:
                files = self._files()
                before = stamps(files)
                await self._look()
                pauses.reset()
                if self._files() == files:
                    await change_since(before)
            except Exception as error:  # noqa: BLE001 - a bug here must not end a forward
                self._warn(f"a bug of portside's: {type(error).__name__}")
                await trio.sleep(pauses.next())
        await trio.sleep_forever()

    def _files(self) -> frozenset[Path]:
        """The kubeconfig files, and the files that they name for this context."""
        fields = (self._selected.cluster, self._selected.user)
        values = (part.get(name) for part in fields for name in FILE_FIELDS)
        named = (Path(value) for value in values if isinstance(value, str) and value)
        return frozenset((*kubeconfig.files(self._config.asked), *named))

    async def _look(self) -> None:
        """Reads the files again and applies what has changed in this context."""
        try:
            selected = await credentials.select_context(self._config.asked, self._config.context)
            seen = await credentials.read_in_time(partial(_used_settings, selected))
            if self._used_settings is None:  # the first look: compare with what was loaded
                edited = edited_since(self._files(), self._config.read_at)
                moved = renewed = selected != self._config.selected or bool(edited)
            else:
                moved, renewed = (now != before for now, before in zip(seen, self._used_settings, strict=True))
            # An SSL context keeps its certificate for good, and the API server tries that before a token.
            drops = self._config.credentials.has_certificate and not _CERTIFICATES & selected.user.keys()
            if moved or (renewed and drops):
                await self._move(selected)
            elif renewed:
                self._config.credentials.edited()
        except KubeconfigError as error:
            self._warn(str(error))
        else:
            self._selected, self._used_settings, self._problem = selected, seen, ""

    async def _move(self, selected: SelectedContext) -> None:
        server = await credentials.read_in_time(partial(server_of, selected, self._config.credentials))
        self._config.credentials.edited()
        with suppress(RenewalError), trio.move_on_after(CREDENTIALS_FIRST):  # a failure is logged and retried
            await self._config.credentials(True)  # noqa: FBT003 - ApiServer's signature
        self._config.credentials.use(server.tls)  # not before: the new server need not see the old user's certificate
        logger.warning('the kubeconfig was edited: context "%s" is now at %s', selected.context, server.url)
        await self._moved(server)

    def _warn(self, problem: str) -> None:
        if problem != self._problem:
            logger.warning("%s; keeping the previous settings", problem)
        self._problem = problem


def _used_settings(selected: SelectedContext) -> tuple[object, object]:
    """What a connection depends on: cluster and user, each with the contents of its files. Raises KubeconfigError."""
    place = selected.cluster, tls.authority_of(selected)
    return place, (selected.user, credentials.from_files(selected))
