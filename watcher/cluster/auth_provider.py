"""Asks a kubeconfig's legacy auth-provider (gcp, azure, oidc) for its header, by the `kubernetes` library.

The library takes 160 ms to import: late, in a thread, and only for the few users that still have such an entry.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from watcher.cluster.kubeconfig import SelectedContext


def provided_header(selected: SelectedContext) -> str:
    """Blocking. The Authorization header. Raises KubeconfigError."""
    user: Mapping[str, Any] = {"auth-provider": selected.user["auth-provider"]}
    document = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": "http://unused"}}],
        "users": [{"name": "it", "user": user}],
    }
    try:
        configuration = _kubernetes("client").Configuration()
        loader = _kubernetes("config.kube_config").KubeConfigLoader(document, config_base_path="")
        loader.load_and_set(configuration)
    except Exception as error:  # noqa: BLE001 - providers raise whatever their libraries do; it may quote a token
        selected.refuse("user", "auth-provider", f"does not work: {type(error).__name__}")
    keys = configuration.api_key
    # Until version 34 the library kept it under "authorization".
    header = str(keys.get("BearerToken") or keys.get("authorization") or "").strip()
    if not header:
        selected.refuse("user", "auth-provider", "gives no token")
    return header


def _kubernetes(name: str) -> Any:
    """One of its modules; it ships no types for these."""
    return importlib.import_module(f"kubernetes.{name}")
