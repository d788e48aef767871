"""The errors that `watcher` raises. The message of each is one line for the user: what failed, what to do.

A message names files, fields and verbs, never a secret. Each room has its own root class below WatcherError.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from itertools import islice

from forwarders.errors import UnreachableError

# Characters of a message: its beginning, which names what failed, and its end, which tells what to do. A server's text,
# or the names in a file, may be megabytes.
_FIRST, _LAST = 2000, 1000


class WatcherError(Exception):
    """Root of every error that `watcher` raises to its callers. Makes one line of bounded length of any message."""

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message, _FIRST, _LAST))


def one_line(text: str, first: int, last: int) -> str:
    """The text on one line. Of a longer one only its first and its last characters are kept."""
    line = " ".join(text.split())
    return line if len(line) <= first + last else f"{line[:first]} … {line[-last:]}"


class UsageError(WatcherError):
    """Wrong usage or configuration, found before any port is bound. Exit code 2."""


# --- the configuration


class ConfigError(UsageError):
    """A configuration file or an argument is invalid. Names the file, the field and the value."""


# --- Skaffold


class SkaffoldError(WatcherError):
    """Base class: something between portside and Skaffold failed."""


class NotSkaffoldError(SkaffoldError):
    """A server answers at the address, but it is not Skaffold's event API."""


class StreamEndedError(SkaffoldError):
    """The event stream has ended. Skaffold sends no reason: it may have exited, or only closed this stream."""


class StuckError(SkaffoldError):
    """Skaffold accepts no event, or sends none any more: a reader of its events blocks it, perhaps portside itself."""


# --- a cluster


class ClusterError(WatcherError):
    """Base class: something between portside and a cluster failed."""


class KubeconfigError(ClusterError, UsageError):
    """The kubeconfig cannot be used. Names the file, the field and the value. Exit code 2."""


class RenewalError(KubeconfigError, UnreachableError):
    """Rejected credentials could not be renewed. Sessions to pods meet it too and expect an UnreachableError."""


class ApiUnreachableError(ClusterError):
    """The API server did not answer, or its answer broke off."""


class MalformedError(ClusterError):
    """The answer is not one of a Kubernetes API server."""


class ApiError(ClusterError):
    """The API server answered with an error. `code`: the HTTP status, or the code in a watch's ERROR event."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class UnauthorizedError(ApiError):
    """The API server rejected the credentials (401), also after they were renewed."""


class ApiForbiddenError(ApiError):
    """RBAC refused (403): the user lacks `verb` on `resource`. `namespace` "": in all namespaces."""

    def __init__(self, message: str, verb: str, resource: str, namespace: str) -> None:
        super().__init__(message, 403)
        self.verb = verb
        self.resource = resource
        self.namespace = namespace


class NotFoundError(ApiError):
    """The API server has no such object (404)."""


class ExpiredError(ApiError):
    """The resourceVersion is too old (410) or newer than this server's (504): list again."""


# --- a Docker engine


class DockerError(WatcherError):
    """The Docker engine gave an error or an unexpected answer."""


class DaemonAddressError(UsageError):
    """DOCKER_HOST or the Docker context is invalid, or names an address that cannot be reached from here."""


# --- parts of a message


class _Short(reprlib.Repr):
    """A short repr for messages: aliases can make a few lines of YAML as large as memory."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, 120, 120

    repr_Mapping = reprlib.Repr.repr_dict  # noqa: N815 - reprlib looks methods up by the type's name


def shown(value: object) -> str:
    """The value for a message: like repr, but short."""
    return _Short().repr(value)


# Comparing one pair of names costs some microseconds; nobody mistypes a name of more than 100 characters.
_MOST_NAMES, _LONGEST_NAME = 1000, 100


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "X"?` for the most similar of `known`, ignoring case; "" if none is similar."""
    import difflib  # noqa: PLC0415 - only mistakes need it

    if len(word) > _LONGEST_NAME:
        return ""
    names = {name.lower(): name for name in islice(known, _MOST_NAMES) if len(name) <= _LONGEST_NAME}
    near = difflib.get_close_matches(word.lower(), names, n=1)
    return f'; did you mean "{names[near[0]]}"?' if near else ""
