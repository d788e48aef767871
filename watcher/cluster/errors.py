"""Owns what can go wrong with a cluster: its kubeconfig, the way there, what it refuses."""

from __future__ import annotations

from watcher.errors import UsageError, WatcherError


class ClusterError(WatcherError):
    """Root of what `cluster` raises."""


class KubeconfigError(ClusterError, UsageError):
    """The kubeconfig cannot be used: names the file, the field and the value, never a secret."""


class UnreachableError(ClusterError):
    """The API server did not answer."""


class ApiError(ClusterError):
    """The API server answered with an error; `code` is the HTTP status, or the one in a watch's ERROR event."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


# Codes after which a watch must begin with a new list: its resourceVersion is too old (410), or newer than what this
# API server has seen (504, "Too large resource version").
LIST_AGAIN = {410, 504}
