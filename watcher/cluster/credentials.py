"""Owns kubeconfig and credentials: from a file and a context to a way to the API server, through `kubernetes`.

Refuses to log or keep what it reads. `kubernetes` is slow to import and synchronous: it is imported late, in a thread.
"""

from __future__ import annotations

import importlib
import logging
import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trio

from forwarders.transports.server import ApiServer, Headers
from watcher.cluster.errors import KubeconfigError

logger = logging.getLogger("portside.cluster")

DEFAULT_FILE = Path("~/.kube/config")
# Credentials that an exec plugin or a token file gave are read again after this many seconds: kubelet-issued tokens
# are replaced on disk at 80 % of an hour at the latest, and asking a plugin costs a process.
CREDENTIALS_AGE = 60.0
# An exec plugin may open a browser; it may not take for ever.
RENEW_TIMEOUT = 60.0


@dataclass(frozen=True)
class ClusterConfig:
    """One context, loaded. `namespace`: the context's, "" where it names none. `source`: the file(s), for messages."""

    server: ApiServer
    context: str
    namespace: str
    source: str
    proxy: str | None


async def load(kubeconfig: str | None, context: str | None) -> ClusterConfig:
    """The context asked for (None: the current one) of a file (None: $KUBECONFIG, ~/.kube/config, in-cluster).

    Raises KubeconfigError.
    """
    loaded = await trio.to_thread.run_sync(_load, kubeconfig, context)
    return ClusterConfig(
        server=_api_server(loaded, _Renewal(kubeconfig, context, loaded).authorize),
        context=loaded.context,
        namespace=loaded.namespace,
        source=loaded.source,
        proxy=loaded.configuration.proxy,
    )


@dataclass
class _Loaded:
    """What `kubernetes` made of the file."""

    configuration: Any
    context: str
    namespace: str
    source: str

    def headers(self) -> Headers:
        """The Authorization header, if this user has one."""
        token = self.configuration.get_api_key_with_prefix("authorization")
        if not token and self.configuration.username:
            token = self.configuration.get_basic_auth_token()
        return [("Authorization", token)] if token else []


def _load(kubeconfig: str | None, context: str | None) -> _Loaded:
    # `Any`: the package ships no type information worth the name.
    config: Any = importlib.import_module("kubernetes.config")
    client: Any = importlib.import_module("kubernetes.client")

    configuration = client.Configuration()
    files = _files(kubeconfig)
    there = [file for file in files if file.expanduser().exists()]
    source = os.pathsep.join(str(file) for file in files)
    if not there and not kubeconfig and _in_cluster():
        config.load_incluster_config(client_configuration=configuration)
        namespace = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read_text().strip()
        return _Loaded(configuration, "", namespace, "the pod's service account")
    if not there:
        raise KubeconfigError(f"no kubeconfig at {source}; give --kubeconfig FILE or set KUBECONFIG")
    chosen = _context(source, context, config)
    try:
        config.load_kube_config(
            config_file=source,
            context=chosen.get("name"),
            client_configuration=configuration,
            persist_config=False,
        )
    except (config.ConfigException, KeyError, TypeError, ValueError, OSError) as error:
        raise KubeconfigError(f"kubeconfig {source}: context {chosen.get('name')!r}: {_line(error)}") from None
    namespace = (chosen.get("context") or {}).get("namespace") or ""
    return _Loaded(configuration, str(chosen["name"]), str(namespace), source)


def _files(kubeconfig: str | None) -> list[Path]:
    if kubeconfig:
        return [Path(kubeconfig)]
    named = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return named or [DEFAULT_FILE.expanduser()]


def _in_cluster() -> bool:
    return (
        bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
        and Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists()
    )


def _context(source: str, asked: str | None, config: Any) -> dict[str, Any]:
    import yaml  # noqa: PLC0415 - imported by `kubernetes` already

    try:
        contexts, current = config.list_kube_config_contexts(config_file=source)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise KubeconfigError(f"kubeconfig {source}{line}: not YAML: {getattr(error, 'problem', '')}") from None
    except UnicodeDecodeError:
        raise KubeconfigError(f"kubeconfig {source}: not a text file") from None
    except OSError as error:
        raise KubeconfigError(f"kubeconfig {source} cannot be read: {error.strerror}") from None
    except (config.ConfigException, AttributeError, KeyError, TypeError, ValueError) as error:
        if asked is None or not isinstance(error, config.ConfigException):
            raise KubeconfigError(f"kubeconfig {source}: {_line(error)}") from None
        contexts, current = _all_contexts(source), None
    if asked is None:
        if not current:
            raise KubeconfigError(f"kubeconfig {source}: current-context is not set; give --kube-context")
        return dict(current)
    for context in contexts:
        if context["name"] == asked:
            return dict(context)
    names = ", ".join(sorted(str(context["name"]) for context in contexts)) or "none"
    raise KubeconfigError(f"kubeconfig {source}: there is no context {asked!r}; there are: {names}")


def _all_contexts(source: str) -> list[dict[str, Any]]:
    """Contexts of files whose current-context is missing or broken, which `kubernetes` refuses to list."""
    import yaml  # noqa: PLC0415 - imported by `kubernetes` already

    contexts: list[dict[str, Any]] = []
    for file in source.split(os.pathsep):
        path = Path(file).expanduser()
        document = yaml.safe_load(path.read_text()) if path.exists() else None
        found = document.get("contexts") if isinstance(document, dict) else None
        contexts += [c for c in found or [] if isinstance(c, dict) and "name" in c]
    return contexts


def _line(error: BaseException) -> str:
    """One line, without the values that a parser may quote."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _api_server(loaded: _Loaded, authorize: Callable[[bool], Awaitable[Headers]]) -> ApiServer:
    configuration = loaded.configuration
    url = urlsplit(configuration.host if "//" in configuration.host else f"https://{configuration.host}")
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise KubeconfigError(f"kubeconfig {loaded.source}: server {configuration.host!r} is not an http(s) URL")
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
    except ValueError:
        raise KubeconfigError(f"kubeconfig {loaded.source}: server {configuration.host!r} has no valid port") from None
    return ApiServer(
        host=url.hostname,
        port=port,
        prefix=url.path.rstrip("/"),
        tls=_tls(loaded) if url.scheme == "https" else None,
        server_name=configuration.tls_server_name or url.hostname,
        authorize=authorize,
    )


def _tls(loaded: _Loaded) -> ssl.SSLContext:
    configuration = loaded.configuration
    try:
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert, cadata=configuration.ca_cert_data)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise KubeconfigError(
            f"kubeconfig {loaded.source}: a certificate or key of context {loaded.context!r} cannot be used: {error}"
        ) from None
    # Clusters' own CAs often lack the extensions that Python 3.13 began to demand; kubectl does not demand them.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    context.set_alpn_protocols(["http/1.1"])
    if not configuration.verify_ssl:
        logger.warning("the API server's certificate is not verified: %s says insecure-skip-tls-verify", loaded.source)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _Renewal:
    """The current Authorization header: read again when it is old, and at once when the server said 401."""

    def __init__(self, kubeconfig: str | None, context: str | None, loaded: _Loaded) -> None:
        self._kubeconfig = kubeconfig
        self._context = context or loaded.context or None
        self._headers = loaded.headers()
        self._read_at = trio.current_time()
        self._renewing = trio.Lock()

    async def authorize(self, renew: bool) -> Headers:  # noqa: FBT001 - ApiServer's signature
        if not self._headers:
            return []
        asked_at = trio.current_time()
        if renew or asked_at - self._read_at > CREDENTIALS_AGE:
            async with self._renewing:
                # Whoever waited for the lock while another renewed has what it needs.
                if self._read_at <= asked_at:
                    await self._read_again()
        return self._headers

    async def _read_again(self) -> None:
        try:
            with trio.fail_after(RENEW_TIMEOUT):
                loaded = await trio.to_thread.run_sync(_load, self._kubeconfig, self._context, abandon_on_cancel=True)
        except (KubeconfigError, trio.TooSlowError) as error:
            logger.warning("credentials could not be renewed, the old ones stay: %s", str(error) or "the plugin hangs")
        else:
            self._headers = loaded.headers()
        self._read_at = trio.current_time()
