"""Owns one item of skaffold.yaml's `portForward` (schema/latest, PortForwardResource) to an Entry.

Refuses what Skaffold's schema refuses, naming file, line and field; what makes only this entry impossible is a
BadEntry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forwarders.spec import Ask, PortWish
from watcher.config.documents import shown
from watcher.config.entries import (
    CONTAINER,
    MAX_PORT,
    BadEntry,
    Entry,
    checked_address,
    known_kinds,
    name_problem,
    port_number,
    skaffold_kind_of,
    wish_for,
)
from watcher.config.errors import ConfigError
from watcher.config.templates import TemplateError, render

_FIELDS = {"resourceType", "resourceName", "namespace", "port", "address", "localPort"}


def entry(item: object, origin: str, environ: Mapping[str, str]) -> Entry | BadEntry:
    """The entry for `item` as written. `origin`: file and line. Raises ConfigError."""
    if not isinstance(item, dict):
        raise ConfigError(f"{origin}: an item of portForward is a mapping, not {shown(item)}")
    for unknown in item.keys() - _FIELDS:
        raise ConfigError(f"{origin}: portForward has no field {shown(unknown)}; it has {', '.join(sorted(_FIELDS))}")
    resource_type = _text(item, "resourceType", origin)
    kind = skaffold_kind_of(resource_type)
    if kind is None:
        raise ConfigError(f"{origin}: resourceType {shown(resource_type)} is not one of {known_kinds()}, {CONTAINER}")
    name = _text(item, "resourceName", origin)
    namespace = _text(item, "namespace", origin, default="")
    port = _port(item, origin)
    wish = _wish(item, port, origin)
    address = _text(item, "address", origin, default="")
    # A list is Skaffold's undoing: it takes the commas for a part of the address and tries for ever.
    parts = (part.strip() for part in address.split(",") if part.strip())
    addresses = tuple(dict.fromkeys(checked_address(part, f"{origin}: address") for part in parts))
    try:
        name, namespace = render(name, environ), render(namespace, environ)
    except TemplateError as error:
        return BadEntry(origin, resource_type, name, namespace, port, str(error))
    if kind != CONTAINER and (problem := name_problem(name, namespace)):
        return BadEntry(origin, resource_type, name, namespace, port, problem)
    return Entry(
        source="user",
        origin=origin,
        kind=kind,
        resource_type=resource_type,
        name=name,
        namespace=namespace,
        port=port,
        wish=wish,
        addresses=addresses,
    )


def _text(item: dict[str, Any], field: str, origin: str, *, default: str | None = None) -> str:
    """A text; a bare number is one too, as in Skaffold."""
    value = item.get(field)
    if value is None or value == "":
        if default is None:
            raise ConfigError(f"{origin}: portForward needs {field}")
        return default
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ConfigError(f"{origin}: {field} is a text, not {shown(value)}")
    return str(value)


def _port(item: dict[str, Any], origin: str) -> int | str:
    """A number, a quoted number (Skaffold's IntOrString takes it as one) or a name."""
    value = item.get("port")
    if isinstance(value, str) and value and not value.isdigit():
        return value
    number = None if isinstance(value, bool) else port_number(str(value))
    if number is None:
        raise ConfigError(f"{origin}: port {shown(value)} is neither a number from 1 to {MAX_PORT} nor a port's name")
    return number


def _wish(item: dict[str, Any], port: int | str, origin: str) -> PortWish:
    """An explicit local port, unless it is 0: Skaffold takes that as not given."""
    local = item.get("localPort")
    if local is None or (local == 0 and not isinstance(local, bool)):
        return wish_for(port)
    if not isinstance(local, int) or isinstance(local, bool) or not 1 <= local <= MAX_PORT:
        raise ConfigError(f"{origin}: localPort {shown(local)} is not a number from 1 to {MAX_PORT}")
    return PortWish(Ask.EXPLICIT, local)
