"""Turns one item of skaffold.yaml's `portForward` (schema/latest, PortForwardResource) into an Entry.

Whatever is wrong with an item costs that item alone: it becomes a BadEntry that says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forwarders.spec import PortPolicy, PortRequest
from watcher.config.documents import shown, text_of
from watcher.config.entries import (
    CONTAINER,
    MAX_PORT,
    BadEntry,
    Entry,
    checked_address,
    known_kinds,
    name_problem,
    port_number,
    port_request_for,
    skaffold_kind_of,
)
from watcher.config.templates import Renderer, TemplateError
from watcher.errors import ConfigError

_FIELDS = {"resourceType", "resourceName", "namespace", "port", "address", "localPort"}


class _ItemError(ValueError):
    """What is wrong with an item."""


def entry(item: object, origin: str, renderer: Renderer) -> Entry | BadEntry:
    """The entry for `item` as written. `origin`: file and line."""
    if not isinstance(item, dict):
        return BadEntry(origin, "", "", "", "", f"an item of portForward is a mapping, not {shown(item)}")
    try:
        return _entry(item, origin, renderer)
    except (_ItemError, TemplateError) as problem:
        return bad_entry(item, origin, str(problem))


def bad_entry(item: Mapping[str, Any], origin: str, reason: str) -> BadEntry:
    """`item` as one that is not forwarded."""
    resource_type, name, namespace, port = (
        text_of(item.get(field)) for field in ("resourceType", "resourceName", "namespace", "port")
    )
    return BadEntry(origin, resource_type, name, namespace, port_number(port) or port, reason)


def _entry(item: Mapping[str, Any], origin: str, renderer: Renderer) -> Entry:
    if unknown := sorted(item.keys() - _FIELDS):
        raise _ItemError(f"portForward has no field {shown(unknown[0])}; it has {', '.join(sorted(_FIELDS))}")
    resource_type = _text(item, "resourceType", needed=True)
    kind = skaffold_kind_of(resource_type)
    if kind is None:
        raise _ItemError(f"resourceType {shown(resource_type)} is not one of {known_kinds()}, {CONTAINER}")
    name = renderer.render(_text(item, "resourceName", needed=True))
    namespace = renderer.render(_text(item, "namespace"))
    if kind != CONTAINER and (problem := name_problem(name, namespace)):
        raise _ItemError(problem)
    port = _port(item)
    return Entry(
        source="user",
        origin=origin,
        kind=kind,
        resource_type=resource_type,
        name=name,
        namespace=namespace,
        port=port,
        local_port=_port_request(item, port),
        addresses=_addresses(_text(item, "address")),
    )


def _text(item: Mapping[str, Any], field: str, *, needed: bool = False) -> str:
    """A text; a bare number is one too, as in Skaffold."""
    value = item.get(field)
    if value is None or value == "":
        if needed:
            raise _ItemError(f"it needs {field}")
        return ""
    if not isinstance(value, bool | str | int | float):
        raise _ItemError(f"{field} is a text, not {shown(value)}")
    return text_of(value)


def _port(item: Mapping[str, Any]) -> int | str:
    """A number, a quoted number (Skaffold's IntOrString takes it as one) or a name."""
    value = item.get("port")
    if value is None or value == "":
        raise _ItemError("it needs port")
    if isinstance(value, str) and not value.isdigit():
        return value
    number = None if isinstance(value, bool) else port_number(str(value))
    if number is None:
        raise _ItemError(f"port {shown(value)} is neither a number from 1 to {MAX_PORT} nor a port's name")
    return number


def _port_request(item: Mapping[str, Any], port: int | str) -> PortRequest:
    """An explicit local port, unless it is 0: Skaffold takes that as not given."""
    local = item.get("localPort")
    if local is None or (local == 0 and not isinstance(local, bool)):
        return port_request_for(port)
    if not isinstance(local, int) or isinstance(local, bool) or not 1 <= local <= MAX_PORT:
        raise _ItemError(f"localPort {shown(local)} is not a number from 1 to {MAX_PORT}")
    return PortRequest(PortPolicy.EXPLICIT, local)


def _addresses(text: str) -> tuple[str, ...]:
    """One address, or several between commas: Skaffold takes the commas for a part of the address and never binds."""
    parts = (part.strip() for part in text.split(",") if part.strip())
    try:
        return tuple(dict.fromkeys(checked_address(part, "address") for part in parts))
    except ConfigError as error:
        raise _ItemError(str(error)) from None
