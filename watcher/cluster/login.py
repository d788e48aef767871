"""Owns who we are to a cluster, found by blocking work in a thread: certificate, token, plugin, service account.

Refuses to keep or log what it finds. Tokens, plugins and providers go through `kubernetes`, which takes 160 ms to
import: late, and only for users that need it. Certificates need `ssl` alone.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from watcher.cluster import kubeconfig, tls
from watcher.cluster.errors import KubeconfigError
from watcher.cluster.kubeconfig import Selected
from watcher.cluster.tls import Chain

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# Seconds after which a file's token is read again; client-go's cachingFileTokenSource, and the kubelet replaces it
# long before it ends.
TOKEN_FILE_LIFE = 60.0
# A token is replaced this long before it ends, and a plugin is not asked more often than that.
MARGIN = 60.0
# A plugin's own words are for people, but one line of them has to do.
MAX_REASON = 200


class Login(Struct, frozen=True):
    """One reading. `life`: seconds until it should be read again, None where only a 401 will tell."""

    selected: Selected
    header: str
    chain: Chain | None
    life: float | None

    def __repr__(self) -> str:
        return f"Login({self.selected!r})"


def _kubernetes(name: str) -> Any:
    """One of its modules; it ships no types for these."""
    return importlib.import_module(f"kubernetes.{name}")


def read(asked: str | None, context: str | None) -> Login:
    """Blocking. The login of a context of a kubeconfig, or of the pod's service account. Raises KubeconfigError."""
    paths = kubeconfig.files(asked)
    there = [path for path in paths if os.path.exists(path)]  # Path's own raises where a folder may not be read
    if not asked and not there:
        if (SERVICE_ACCOUNT / "token").exists():
            return _service_account(SERVICE_ACCOUNT)
        names = ", ".join(map(str, paths))
        raise KubeconfigError(f"there is no kubeconfig at {names}: give --kubeconfig FILE or set KUBECONFIG")
    return _login(kubeconfig.select(paths if asked else there, context))


def _login(selected: Selected) -> Login:
    user: Mapping[str, Any] = selected.user
    for field in _IMPERSONATION & user.keys():
        selected.refuse("user", field, "is not supported: portside would act with other rights than kubectl")
    life = TOKEN_FILE_LIFE if user.get("tokenFile") else None
    chain = tls.chain_of(selected)
    # client-go's order (rest/config.go): a plugin is asked only where no token stands beside it.
    if user.get("exec") and not user.get("token") and not user.get("tokenFile"):
        status = _asked_plugin(selected)
        life = _life(status.get("expirationTimestamp"))
        user = {"token": str(status.get("token") or "")}
        if status.get("clientCertificateData"):
            certificate, key = status["clientCertificateData"], status.get("clientKeyData") or ""
            chain = Chain(str(certificate).encode(), str(key).encode())
    return Login(selected, _header(selected, user), chain, life)


def _header(selected: Selected, user: Mapping[str, Any]) -> str:
    """The Authorization header as `kubernetes` makes it, "" for none."""
    if not any(user.get(field) for field in ("token", "tokenFile", "username", "auth-provider")):
        return ""
    # A tokenFile wins over a token in client-go, not in `kubernetes`.
    wanted = {name: value for name, value in user.items() if name != "token" or not user.get("tokenFile")}
    document = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": "http://unused"}}],
        "users": [{"name": "it", "user": {k: v for k, v in wanted.items() if k not in _CERTIFICATES}}],
    }
    config = _kubernetes("config")
    configuration = _kubernetes("client").Configuration()
    try:
        loader = _kubernetes("config.kube_config").KubeConfigLoader(document, config_base_path="")
        loader.load_and_set(configuration)
    except OSError as error:
        selected.refuse("user", "tokenFile", f"({user.get('tokenFile')}) cannot be read: {error.strerror}")
    except config.ConfigException as error:
        selected.refuse("user", "its authentication", f"does not work: {_one_line(error)}")
    except Exception as error:  # noqa: BLE001 - auth providers raise whatever their libraries do; it may quote a token
        selected.refuse("user", "its authentication", f"does not work: {type(error).__name__}")
    header = _authorization(configuration)
    if not header:
        selected.refuse("user", "its authentication", "gives neither a token nor a password")
    if not (header.isascii() and header.isprintable()):
        selected.refuse("user", "its authentication", "has characters that no HTTP header may have")
    return header


def _authorization(configuration: Any) -> str:
    """The header, wherever this version of `kubernetes` keeps it (until 34: authorization)."""
    keys = configuration.api_key
    return str(keys.get("BearerToken") or keys.get("authorization") or "").strip()


_IMPERSONATION = {"as", "as-groups", "as-uid", "as-user-extra"}
_CERTIFICATES = {"client-certificate", "client-certificate-data", "client-key", "client-key-data", "exec"}


def _asked_plugin(selected: Selected) -> dict[str, Any]:
    """The status of the ExecCredential that the user's plugin prints (client.authentication.k8s.io)."""
    config = _kubernetes("config")
    node = _kubernetes("config.kube_config").ConfigNode
    plugin = selected.user["exec"]
    command = plugin.get("command") if isinstance(plugin, dict) else None
    try:
        provider = _kubernetes("config.exec_provider").ExecProvider
        status = provider(node("exec", plugin), None, node("cluster", selected.cluster)).run()
    except OSError as error:
        selected.refuse("user", "exec.command", f"({command}) cannot be run: {error.strerror}")
    except (config.ConfigException, KeyError, TypeError, ValueError) as error:
        reason = _one_line(error) if isinstance(error, config.ConfigException) else type(error).__name__
        selected.refuse("user", "exec", f"({command}) failed: {reason}")
    if not isinstance(status, dict) or not (status.get("token") or status.get("clientCertificateData")):
        selected.refuse("user", "exec", f"({command}) printed neither a token nor a certificate")
    return status


def _service_account(folder: Path) -> Login:
    """A pod's own: rest.InClusterConfig of client-go. Raises KubeconfigError."""
    config = _kubernetes("config")
    configuration = _kubernetes("client").Configuration()
    try:
        loader = _kubernetes("config.incluster_config").InClusterConfigLoader(
            str(folder / "token"), str(folder / "ca.crt"), try_refresh_token=False
        )
        loader.load_and_set(configuration)
    except (config.ConfigException, OSError) as error:
        raise KubeconfigError(f"the pod's service account in {folder} cannot be used: {_one_line(error)}") from None
    namespace = ""
    with suppress(OSError):
        namespace = (folder / "namespace").read_text().strip()
    cluster = {"server": configuration.host, "certificate-authority": configuration.ssl_ca_cert}
    selected = Selected("the pod's service account", "", namespace, "the pod's", cluster, "the service account", {})
    return Login(selected, _authorization(configuration), None, TOKEN_FILE_LIFE)


def _life(expiration: object) -> float | None:
    """Seconds until shortly before an RFC 3339 time."""
    try:
        end = datetime.fromisoformat(str(expiration))
    except ValueError:
        return None
    return max((end - datetime.now(UTC)).total_seconds() - MARGIN, MARGIN) if end.tzinfo else None


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:MAX_REASON]
