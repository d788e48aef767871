"""Owns what can go wrong between portside and a cluster: its kubeconfig, the way there, what the API server refuses.

Refuses retries (the reflector's) and secrets: a message names files, fields and verbs, never what a token holds.
"""

from __future__ import annotations

from forwarders.transports import errors as transports
from watcher.errors import UsageError, WatcherError


class ClusterError(WatcherError):
    """Root of this room."""


class KubeconfigError(ClusterError, UsageError):
    """The kubeconfig cannot be used: names the file, the field and the value, never a secret. Exit code 2."""


class RenewalError(KubeconfigError, transports.UnreachableError):
    """Refused credentials could not be renewed. Sessions to pods ask for them too, and expect their own root."""


class UnreachableError(ClusterError):
    """The API server did not answer, or not to the end."""


class MalformedError(ClusterError):
    """What answers does not speak as an API server does."""


class ApiError(ClusterError):
    """The API server answered with an error. `code`: the HTTP status, or the one in a watch's ERROR event."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class UnauthorizedError(ApiError):
    """401, also after the credentials were renewed."""


class ForbiddenError(ApiError):
    """403: who we are may not do this. `namespace` is "" for all of them."""

    def __init__(self, message: str, verb: str, resource: str, namespace: str) -> None:
        super().__init__(message, 403)
        self.verb = verb
        self.resource = resource
        self.namespace = namespace


class NotFoundError(ApiError):
    """404."""


class ExpiredError(ApiError):
    """The resourceVersion is too old (410) or newer than what this server has seen (504): list again."""
