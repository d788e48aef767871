"""Owns the entries a user wrote, in skaffold.yaml or as arguments, as one value, and what each part of one may be.

Refuses to judge the cluster.
"""

from __future__ import annotations

import ipaddress
import re

from msgspec import Struct

from forwarders.spec import PortPolicy, PortRequest
from watcher.cluster.kinds import BY_NAME, KINDS, Kind
from watcher.errors import ConfigError, did_you_mean

DEFAULT_ADDRESS = "127.0.0.1"
# The Docker deployer's resource type; everything else is a Kubernetes kind.
CONTAINER = "container"
MAX_PORT = 65535

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_NAMESPACE = re.compile(_LABEL)
_HOST_NAME = re.compile(r"(?=.{1,253}$)(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")


class Entry(Struct, frozen=True, kw_only=True):
    """One thing to forward. `source`: user or direct; `origin` says where it stands, for messages.

    `kind` is the kind's singular in lower case; `resource_type` is it as written. `namespace` "": to be found out.
    `addresses` (): the ones that hold for all. `context`: the kube-context, "" for the default one.
    `selector`: labels, as the API takes them, in place of a `name` ("").
    """

    source: str
    origin: str
    kind: str
    resource_type: str
    name: str
    namespace: str
    port: int | str
    local_port: PortRequest
    addresses: tuple[str, ...] = ()
    selector: str = ""
    context: str = ""


class BadEntry(Struct, frozen=True):
    """An entry that cannot be forwarded, and why; the others can."""

    origin: str
    resource_type: str
    name: str
    namespace: str
    port: int | str
    reason: str


def kind_of(resource_type: str) -> str | None:
    """The kind's singular for a type as kubectl takes it: any case, plural, short name, `deployments.v1.apps`."""
    word, dot, group = resource_type.lower().partition(".")
    kind = BY_NAME.get(word)
    if kind is None or (dot and group not in _groups(kind)):
        return None
    return kind.singular


def skaffold_kind_of(resource_type: str) -> str | None:
    """The kind for a resourceType of skaffold.yaml: singulars in any case (schema/validation/validation.go)."""
    word = resource_type.lower()
    return word if word == CONTAINER or any(kind.singular == word for kind in KINDS) else None


def known_kinds(meant: str = "") -> str:
    """For messages; with the one that is most like what was meant."""
    return ", ".join(sorted(kind.singular for kind in KINDS)) + did_you_mean(meant, BY_NAME)


def port_request_for(port: int | str) -> PortRequest:
    """What no explicit local port means: the remote one where it is a number."""
    return PortRequest(PortPolicy.PREFERRED, port) if isinstance(port, int) else PortRequest(PortPolicy.AUTOMATIC)


def port_number(text: str) -> int | None:
    """The port that a text of digits means; None for any other text, and for numbers that no port has."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_PORT))):
        return None
    return int(text) if 1 <= int(text) <= MAX_PORT else None


def name_problem(name: str, namespace: str) -> str:
    """Why no Kubernetes object can be called this (RFC 1123 subdomain, label), or "". Blank namespaces pass."""
    if not _NAME.fullmatch(name):
        return f"no Kubernetes object can have the name {name!r}"
    if namespace and not _NAMESPACE.fullmatch(namespace):
        return f"no namespace can have the name {namespace!r}"
    return ""


def checked_namespace(text: str, where: str) -> str:
    """The name of a namespace, or "". Raises ConfigError."""
    if text and not _NAMESPACE.fullmatch(text):
        raise ConfigError(f"{where}: no namespace can have the name {text!r}")
    return text


def checked_address(text: str, where: str) -> str:
    """An IPv4 or IPv6 address or a host name. Raises ConfigError."""
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    if not _HOST_NAME.fullmatch(text) or text.replace(".", "").isdigit():
        raise ConfigError(f"{where}: {text!r} is neither an IP address nor a host name")
    return text


def _groups(kind: Kind) -> set[str]:
    """`/apis/apps/v1` is written as apps or v1.apps; the core group has no name."""
    _, _, path = kind.path.partition("/apis/")
    group, _, version = path.partition("/")
    return {group, f"{version}.{group}"} if group else {"v1", "v1."}
