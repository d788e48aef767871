"""Reads the credentials of a context: certificate, token, password, login plugin, service account, impersonation.

It logs none of them. Files are read in a thread; a plugin is a process.
"""

from __future__ import annotations

import base64
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import trio
from msgspec import Struct

from forwarders.spec import authority
from forwarders.transports.api_server import Headers
from watcher import user_files
from watcher.cluster import kubeconfig, tls
from watcher.cluster.kubeconfig import SelectedContext
from watcher.cluster.tls import ClientCertificate
from watcher.errors import KubeconfigError

# Kubernetes mounts this folder into every container, unless the pod or its service account refuses it.
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# Seconds after which a token file is read again, as in client-go's cachingFileTokenSource.
TOKEN_FILE_LIFE = 60.0
# Seconds before its end at which a token is renewed; also the shortest time between two runs of a plugin.
MARGIN = 60.0
# Seconds for reading files: an unreachable network home must give a message.
FILES_WITHIN = 10.0
# Seconds for a legacy auth-provider, which asks a server.
PROVIDER_WITHIN = 60.0
# Marks of an RFC 9110 token. client-go percent-encodes every other byte of a header name, and "%" itself.
_HEADER_MARKS = "!#$&'*+-.^_`|~"

T = TypeVar("T")


class Credentials(Struct, frozen=True):
    """What authenticates a user. `header`: Authorization, or "". `life`: seconds until a new reading, None: no end."""

    selected: SelectedContext
    header: str
    chain: ClientCertificate | None
    life: float | None
    acting_as: Sequence[tuple[str, str]] = ()

    def __repr__(self) -> str:
        return f"Credentials({self.selected!r})"

    @property
    def headers(self) -> Headers:
        return ([("Authorization", self.header)] if self.header else []) + list(self.acting_as)


async def read_credentials(asked: str | None, context: str | None, *, starting: bool = False) -> Credentials:
    """Read the credentials of a context, or of the pod's service account. Raises KubeconfigError.

    `starting`: the terminal is still free, so a login plugin may ask the user.
    """
    selected = await select_context(asked, context)
    user = selected.user
    chain, token = await read_in_time(partial(from_files, selected))
    life = TOKEN_FILE_LIFE if user.get("tokenFile") else None
    header = f"Bearer {token}" if token else ""
    # client-go's order (rest/config.go): a token wins over a plugin.
    if user.get("exec") and not token:
        from watcher.cluster.plugin import ask_plugin  # noqa: PLC0415 - few users have one

        found = await ask_plugin(selected, starting=starting)
        life = _life(found.expiration_timestamp)
        header = f"Bearer {found.token}" if found.token else ""
        if found.client_certificate_data and found.client_key_data:
            chain = ClientCertificate(found.client_certificate_data.encode(), found.client_key_data.encode())
    elif user.get("auth-provider") and not token:
        problem = "the auth-provider did not answer"
        header = await read_in_time(partial(provided_header, selected), problem, PROVIDER_WITHIN)
    elif (user.get("username") or user.get("password")) and not token:
        header = _password(selected)
    if not (header.isascii() and header.isprintable()):
        selected.refuse("user", "its authentication", "has characters that no HTTP header may have")
    return Credentials(selected, header, chain, life, impersonation(selected))


async def select_context(asked: str | None, context: str | None) -> SelectedContext:
    """Reads the kubeconfig files and resolves the given context. Raises KubeconfigError."""
    return await read_in_time(partial(_selected, asked, context), "the kubeconfig was not read")


async def read_in_time(
    work: Callable[[], T], problem: str = "the kubeconfig's files were not read", seconds: float = FILES_WITHIN
) -> T:
    """Run `work`, which blocks, in a thread. Raises KubeconfigError with `problem` after `seconds`."""
    try:
        with trio.fail_after(seconds):
            return await trio.to_thread.run_sync(work, abandon_on_cancel=True)
    except trio.TooSlowError:
        raise KubeconfigError(f"{problem} within {seconds:.0f} s") from None


def _selected(asked: str | None, context: str | None) -> SelectedContext:
    paths = kubeconfig.files(asked)
    there = [path for path in paths if os.path.exists(path)]  # Path.exists raises if a folder may not be read
    if not asked and not there:
        if (SERVICE_ACCOUNT / "token").exists():
            return _service_account()
        names = ", ".join(map(str, paths))
        raise KubeconfigError(f"there is no kubeconfig at {names}: give --kubeconfig FILE or set KUBECONFIG")
    return kubeconfig.resolve_context(paths if asked else there, context)


def from_files(selected: SelectedContext) -> tuple[ClientCertificate | None, str]:
    """The client certificate and the token of a user. A tokenFile wins over a token, as in client-go."""
    name = selected.text("user", "tokenFile")
    token = _token(selected, name) if name else selected.text("user", "token").strip()
    return tls.chain_of(selected), token


def _token(selected: SelectedContext, name: str) -> str:
    try:
        token = user_files.read_text(name, user_files.SECRET).strip()
    except OSError as error:
        selected.refuse("user", "tokenFile", f"({name}) cannot be read: {error.strerror}")
    if not token:
        selected.refuse("user", "tokenFile", f"({name}) is empty")
    return token


def _password(selected: SelectedContext) -> str:
    """The Authorization header of a user name and its password (RFC 7617)."""
    name, password = selected.text("user", "username"), selected.text("user", "password")
    if not name or not password:
        selected.refuse("user", "its authentication", "gives neither a token nor a password")
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def _service_account() -> SelectedContext:
    """The pod's service account, as client-go's rest.InClusterConfig. Raises KubeconfigError."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        missing = "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set"
        raise KubeconfigError(f"the pod's service account in {SERVICE_ACCOUNT} cannot be used: {missing}")
    server = f"https://{authority(host, port)}"
    cluster = {"server": server, "certificate-authority": str(SERVICE_ACCOUNT / "ca.crt")}
    user = {"tokenFile": str(SERVICE_ACCOUNT / "token")}
    return SelectedContext(
        "the pod's service account", "", own_namespace(), "the pod's", cluster, "the service account", user
    )


def own_namespace() -> str:
    """The namespace of the pod that this process runs in; "" outside of pods, or if the file cannot be read."""
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text().strip()
    except (OSError, ValueError):
        return ""


def _life(expiration: str | None) -> float | None:
    """Seconds from now until MARGIN before an RFC 3339 time; None for any other text."""
    try:
        end = datetime.fromisoformat(str(expiration))
    except ValueError:
        return None
    return max((end - datetime.now(UTC)).total_seconds() - MARGIN, MARGIN) if end.tzinfo else None


def provided_header(selected: SelectedContext) -> str:
    """The Authorization header of a legacy auth-provider (gcp, azure, oidc), by the `kubernetes` library.

    Blocking. The library takes 160 ms to import, and few users have such an entry. Raises KubeconfigError.
    """
    user: Mapping[str, Any] = {"auth-provider": selected.user["auth-provider"]}
    document = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": "http://unused"}}],
        "users": [{"name": "it", "user": user}],
    }
    try:
        library: Any = importlib.import_module("kubernetes.config.kube_config")  # it has no types
        configuration = library.Configuration()
        library.KubeConfigLoader(document, config_base_path="").load_and_set(configuration)
    except Exception as error:  # noqa: BLE001 - any library's error; its text may quote a token
        selected.refuse("user", "auth-provider", f"does not work: {type(error).__name__}")
    keys = configuration.api_key
    # Before version 34 of the library the key was "authorization".
    header = str(keys.get("BearerToken") or keys.get("authorization") or "").strip()
    if not header:
        selected.refuse("user", "auth-provider", "gives no token")
    return header


def impersonation(selected: SelectedContext) -> Headers:
    """The headers for `as`, `as-uid`, `as-groups` and `as-user-extra` of a user. Raises KubeconfigError.

    client-go transport/round_trippers.go (NewImpersonatingRoundTripper).
    """
    name = _text(selected, "as", selected.user.get("as"))
    uid = _text(selected, "as-uid", selected.user.get("as-uid"))
    groups = _texts(selected, "as-groups", selected.user.get("as-groups"))
    headers = [("Impersonate-User", name)] if name else []
    headers += [("Impersonate-Uid", uid)] if uid else []
    headers += [("Impersonate-Group", group) for group in groups]
    headers += _extra(selected)
    if headers and not name:
        selected.refuse("user", "as", "is missing: as-uid, as-groups and as-user-extra need it")
    return headers


def _extra(selected: SelectedContext) -> Headers:
    field = "as-user-extra"
    extra = selected.user.get(field) or {}
    if not isinstance(extra, dict):
        selected.refuse("user", field, "is not a mapping of names to lists")
    return [
        (f"Impersonate-Extra-{quote(_text(selected, field, name), safe=_HEADER_MARKS)}", value)
        for name, values in extra.items()
        for value in _texts(selected, field, values)
    ]


def _texts(selected: SelectedContext, field: str, values: object) -> list[str]:
    if not isinstance(values, list | None):
        selected.refuse("user", field, "is not a list")
    return [_text(selected, field, value) for value in values or ()]


def _text(selected: SelectedContext, field: str, value: object) -> str:
    if not isinstance(value, str | None):
        selected.refuse("user", field, "is not a text")
    text = value or ""
    if not (text.isprintable() and text.isascii()):
        selected.refuse("user", field, "has characters that no HTTP header may have")
    return text
