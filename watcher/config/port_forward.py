"""Owns one item of skaffold.yaml's `portForward` (schema/latest, PortForwardResource) to an Entry.

Refuses what Skaffold's schema refuses, naming file, line and field; what makes only this entry impossible is a
BadEntry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forwarders.spec import Ask, PortWish
from watcher.config import documents
from watcher.config.entries import DEFAULT_ADDRESS, BadEntry, Entry, checked_address, kind_of, known_kinds, wish_for
from watcher.config.errors import ConfigError
from watcher.config.templates import TemplateError, render

_FIELDS = {"resourceType", "resourceName", "namespace", "port", "address", "localPort"}


def entry(item: object, where: str, environ: Mapping[str, str], *, address: str = DEFAULT_ADDRESS) -> Entry | BadEntry:
    """Raises ConfigError. `where` is the file (and line) the item stands in; `address` is the default one."""
    if not isinstance(item, dict):
        raise ConfigError(f"{where}: an item of portForward is a mapping, not {item!r}")
    origin = f"{where} line {item.line}" if isinstance(item, documents.Mapping) and item.line else where
    for unknown in item.keys() - _FIELDS:
        raise ConfigError(f"{origin}: portForward has no field {unknown!r}; it has {', '.join(sorted(_FIELDS))}")
    resource_type = _text(item, "resourceType", origin)
    kind = kind_of(resource_type)
    if kind is None:
        raise ConfigError(f"{origin}: resourceType {resource_type!r} is not one of {known_kinds()}, container")
    port = _port(item, origin)
    wish = _wish(item, port, origin)
    addresses = (checked_address(_text(item, "address", origin, default=address), f"{origin}: address"),)
    name, namespace = _text(item, "resourceName", origin), _text(item, "namespace", origin, default="")
    try:
        name, namespace = render(name, environ), render(namespace, environ)
    except TemplateError as error:
        return BadEntry(origin, resource_type, name, namespace, port, str(error))
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
    value = item.get(field)
    if value is None or value == "":
        if default is None:
            raise ConfigError(f"{origin}: portForward needs {field}")
        return default
    if not isinstance(value, str):
        raise ConfigError(f"{origin}: {field} is a text, not {value!r}")
    return value


def _port(item: dict[str, Any], origin: str) -> int | str:
    """A number, a quoted number (Skaffold's IntOrString takes it as one) or a name."""
    value = item.get("port")
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535:
        return value
    raise ConfigError(f"{origin}: port {value!r} is neither a number from 1 to 65535 nor a port's name")


def _wish(item: dict[str, Any], port: int | str, origin: str) -> PortWish:
    local = item.get("localPort")
    if local is None or local == 0:
        return wish_for(port)
    if not isinstance(local, int) or isinstance(local, bool) or not 1 <= local <= 65535:
        raise ConfigError(f"{origin}: localPort {local!r} is not a number from 1 to 65535")
    return PortWish(Ask.EXPLICIT, local)
