"""Turns one item of skaffold.yaml's `portForward` (schema/latest, PortForwardResource) into an Entry.

An invalid item becomes a BadEntry that says why; the other items are not affected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from forwarders.spec import MAX_PORT, PortPolicy, PortRequest, port_number
from watcher.config.documents import text_of
from watcher.config.entries import (
    CONTAINER,
    BadEntry,
    Entry,
    checked_address,
    checked_port,
    known_kinds,
    name_problem,
    port_request_for,
    skaffold_kind_of,
)
from watcher.errors import ConfigError, shown

_FIELDS = {"resourceType", "resourceName", "namespace", "port", "address", "localPort"}
_VARIABLE = re.compile(r"\{\{(?:- )?\s*\.([A-Za-z_][A-Za-z0-9_]*)\s*(?: -)?\}\}")


class TemplateRenderer(Struct, frozen=True):
    """Renders the templates in resourceName and namespace.

    `{{.NAME}}` is looked up in the environment. Skaffold renders everything else (pipes, sprig's functions):
    `by_skaffold` has its results, and is None without its binary. Then such a template is an error, since a wrong name
    is worse than none.
    """

    environ: Mapping[str, str]
    by_skaffold: Mapping[str, str] | None = None

    def render(self, text: str) -> str:
        """Replaces templates by their values. Raises ConfigError for an unset variable or a template not rendered."""
        if is_plain(text):
            return _VARIABLE.sub(self._value, text)
        if self.by_skaffold is None:
            raise ConfigError(f"template {text!r} needs the skaffold binary on PATH; {{{{.NAME}}}} alone does not")
        rendered = self.by_skaffold.get(text, text)
        if rendered == text:
            raise ConfigError(f"Skaffold cannot render the template {text!r}: is a variable in it not set?")
        return rendered

    def _value(self, match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in self.environ:
            raise ConfigError(f"template {match.group(0)}: {name} is not in the environment")
        return self.environ[name]


def is_plain(text: str) -> bool:
    """Whether a template only looks names up, so portside can render it itself."""
    return "{{" not in _VARIABLE.sub("", text)


def entry(item: object, origin: str, renderer: TemplateRenderer) -> Entry | BadEntry:
    """Make the entry for an `item` of a portForward list. `origin`: file and line."""
    if not isinstance(item, dict):
        return BadEntry(origin, "", "", "", "", f"an item of portForward is a mapping, not {shown(item)}")
    try:
        return _entry(item, origin, renderer)
    except ConfigError as problem:
        fields = ("resourceType", "resourceName", "namespace", "port")
        resource_type, name, namespace, port = (text_of(item.get(field)) for field in fields)
        return BadEntry(origin, resource_type, name, namespace, port_number(port) or port, str(problem))


def _entry(item: Mapping[str, Any], origin: str, renderer: TemplateRenderer) -> Entry:
    if unknown := sorted(item.keys() - _FIELDS):
        raise ConfigError(f"portForward has no field {shown(unknown[0])}; it has {', '.join(sorted(_FIELDS))}")
    resource_type = _text(item, "resourceType", needed=True)
    kind = skaffold_kind_of(resource_type)
    if kind is None:
        raise ConfigError(f"resourceType {shown(resource_type)} is not one of {known_kinds()}, {CONTAINER}")
    name = renderer.render(_text(item, "resourceName", needed=True))
    namespace = renderer.render(_text(item, "namespace"))
    if kind != CONTAINER and (problem := name_problem(name, namespace)):
        raise ConfigError(problem)
    if item.get("port") in (None, ""):
        raise ConfigError("it needs port")
    port = checked_port(item["port"], "port")
    # Several addresses between commas, as for --address: Skaffold takes the text for one address and never binds it.
    addresses = (part.strip() for part in _text(item, "address").split(",") if part.strip())
    return Entry(
        source="user",
        origin=origin,
        kind=kind,
        resource_type=resource_type,
        name=name,
        namespace=namespace,
        port=port,
        local_port=_port_request(item, port),
        addresses=tuple(dict.fromkeys(checked_address(address, "address") for address in addresses)),
    )


def _text(item: Mapping[str, Any], field: str, *, needed: bool = False) -> str:
    """The text in a field; a number counts as one, as in Skaffold. Raises ConfigError."""
    value = item.get(field)
    if value is None or value == "":
        if needed:
            raise ConfigError(f"it needs {field}")
        return ""
    if not isinstance(value, bool | str | int | float):
        raise ConfigError(f"{field} must be a text, not {shown(value)}")
    return text_of(value)


def _port_request(item: Mapping[str, Any], port: int | str) -> PortRequest:
    """The request for the item's localPort; 0 counts as not given, as in Skaffold. Raises ConfigError."""
    local = item.get("localPort")
    if local is None or (local == 0 and not isinstance(local, bool)):
        return port_request_for(port)
    if not isinstance(local, int) or isinstance(local, bool) or not 1 <= local <= MAX_PORT:
        raise ConfigError(f"localPort {shown(local)} is not a number from 1 to {MAX_PORT}")
    return PortRequest(PortPolicy.EXPLICIT, local)
