"""Owns the entries a user wrote, in skaffold.yaml or as arguments, as one value. Refuses to judge the cluster."""

from __future__ import annotations

import ipaddress
import re

from msgspec import Struct

from forwarders.spec import Ask, PortWish
from watcher.cluster.kinds import BY_NAME
from watcher.config.errors import ConfigError

DEFAULT_ADDRESS = "127.0.0.1"
# The Docker deployer's resource type; everything else is a Kubernetes kind.
CONTAINER = "container"

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")


class Entry(Struct, frozen=True, kw_only=True):
    """One thing to forward. `namespace` "" means: to be found out. `source`: user or direct.

    `kind` is the kind's singular in lower case; `resource_type` is it as written. `origin` says where it stands.
    `group` is the same for one target's several addresses.
    """

    source: str
    origin: str
    kind: str
    resource_type: str
    name: str
    namespace: str
    port: int | str
    wish: PortWish
    addresses: tuple[str, ...] = (DEFAULT_ADDRESS,)


class BadEntry(Struct, frozen=True):
    """An entry that cannot be forwarded, and why; the others can."""

    origin: str
    resource_type: str
    name: str
    namespace: str
    port: int | str
    reason: str


def kind_of(resource_type: str) -> str | None:
    """The kind's singular for a type as users write it: any case, plural, short name, `deployment.apps`."""
    word = resource_type.lower()
    kind = BY_NAME.get(word) or BY_NAME.get(word.partition(".")[0])
    if kind is not None:
        return kind.singular
    return CONTAINER if word == CONTAINER else None


def known_kinds() -> str:
    return ", ".join(sorted({kind.singular for kind in BY_NAME.values()}))


def wish_for(port: int | str) -> PortWish:
    """What no explicit local port means: the remote one where it is a number."""
    return PortWish(Ask.PREFERRED, port) if isinstance(port, int) else PortWish(Ask.AUTOMATIC)


def checked_address(text: str, where: str) -> str:
    """An IPv4 or IPv6 address or a host name. Raises ConfigError."""
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        pass
    if not _HOST_NAME.fullmatch(text) or text.replace(".", "").isdigit():
        raise ConfigError(f"{where}: {text!r} is neither an IP address nor a host name")
    return text
