"""Reads portside.yaml into Settings. Its types give the JSON Schema. Each mistake is one line: file, line, field.

The text of the modes is not interpreted here: it has the same meaning as that of --port-forward.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from forwarders.spec import MAX_PORT, PortPolicy, PortRequest
from watcher import user_files
from watcher.config import documents, project_files
from watcher.config.entries import (
    CONTAINER,
    Entry,
    Rule,
    Rules,
    Settings,
    checked_address,
    checked_port,
    checked_selector,
    kind_of,
    known_kinds,
    name_problem,
    port_request_for,
)
from watcher.errors import ConfigError, did_you_mean

FILE = "portside.yaml"

Port = Annotated[int, Meta(ge=1, le=MAX_PORT)]
Text = Annotated[str, Meta(min_length=1)]

# msgspec ends its messages with the path: "… - at `$.forwards[2].port`".
_AT = re.compile(r"(?P<message>.*) - at `\$(?P<path>.*)`", re.DOTALL)
_SUFFIX = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>.*)`", re.DOTALL)
_PATH = re.compile("/[!-~]*")
_STEP = re.compile(r"\.(?P<field>[^.\[]+)|\[(?P<index>\d+)\]")


class RuleItem(Struct, frozen=True, forbid_unknown_fields=True):
    """Matches what has everything named here. `name` and `namespace` may contain * and ?; `kind` as for kubectl."""

    kind: Text | None = None
    name: Text | None = None
    namespace: Text | None = None
    labels: dict[str, str] | None = None
    port: Port | Text | None = None


class ForwardItem(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A forward in addition to those of the modes. Exactly one of `resourceName` and `selector`.

    `open`: the path that the browser opens once, when the forward is first ready.
    """

    resource_type: Text
    port: Port | Text
    resource_name: Text | None = None
    selector: dict[str, str] | Text | None = None
    namespace: Text | None = None
    context: Text | None = None
    local_port: Port | Annotated[tuple[Port, ...], Meta(min_length=1)] | None = None
    address: Text | Annotated[tuple[Text, ...], Meta(min_length=1)] | None = None
    open: Text | None = None


class PortsideFile(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """portside.yaml. `portForward`: default modes. `addresses`: where to listen. `hold`: seconds a connection waits.

    `gateway`: [ADDR:]PORT of one listener for all forwards by name; `gatewaySuffixes`: domains besides localhost.
    `direct`: connect to pods' own addresses, as --direct.
    """

    api_version: Literal["portside/v1"]
    port_forward: bool | Text | tuple[Text, ...] | None = None
    addresses: tuple[Text, ...] | None = None
    hold: Annotated[float, Meta(ge=0)] | None = None
    gateway: Port | Text | None = None
    direct: Literal["auto", "always", "never"] | None = None
    gateway_suffixes: tuple[Text, ...] | None = None
    include: tuple[RuleItem, ...] | None = None
    exclude: tuple[RuleItem, ...] | None = None
    forwards: tuple[ForwardItem, ...] | None = None


_ITEMS: dict[str, type[Struct]] = {"forwards": ForwardItem, "include": RuleItem, "exclude": RuleItem}


def schema() -> dict[str, Any]:
    """The JSON Schema of portside.yaml."""
    found = msgspec.json.schema(PortsideFile)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": FILE, **found}


def read_settings(folder: Path) -> Settings:
    """The Settings of `folder`'s portside.yaml; empty ones if there is no such file. Raises ConfigError."""
    path = folder / FILE
    try:
        text = user_files.read_text(path, user_files.PROJECT_FILE)
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    return parse_settings(text, str(path))


def parse_settings(text: str, source: str) -> Settings:
    """Settings from the text of a portside.yaml. Raises ConfigError naming `source`, line and field."""
    found = documents.documents(text, source)
    if len(found) != 1:
        raise ConfigError(f"{source}: it must be one document, not {len(found)}")
    [document] = found
    try:
        file = msgspec.convert(document, PortsideFile)
    except msgspec.ValidationError as error:
        raise ConfigError(_explained(str(error), document, source)) from None
    return _settings(file, document, source)


def _settings(file: PortsideFile, document: documents.Mapping, source: str) -> Settings:
    def origins(field: str) -> list[str]:
        return [project_files.origin(item, source) for item in document.get(field) or ()]

    def at(field: str) -> str:
        return f"{source} line {document.lines.get(field, document.line)}: {field}"

    addresses = (checked_address(address, at("addresses")) for address in file.addresses or ())
    if file.hold is not None and not math.isfinite(file.hold):
        raise ConfigError(f"{at('hold')} {file.hold} is no number of seconds")
    entries = zip(file.forwards or (), origins("forwards"), strict=True)
    return Settings(
        modes=_modes(file.port_forward),
        modes_origin=at("portForward"),
        addresses=tuple(dict.fromkeys(addresses)),
        hold=file.hold,
        direct=file.direct or "",
        gateway=str(file.gateway or ""),
        gateway_origin=at("gateway"),
        gateway_suffixes=tuple(_suffix(text, at("gatewaySuffixes")) for text in file.gateway_suffixes or ()),
        rules=Rules(
            include=tuple(map(_rule, file.include or (), origins("include"))),
            exclude=tuple(map(_rule, file.exclude or (), origins("exclude"))),
        ),
        entries=tuple(entry for item, origin in entries for entry in _entries(item, origin)),
    )


def _suffix(text: str, where: str) -> str:
    suffix = text.lower().strip(".")
    if not _SUFFIX.fullmatch(suffix):
        raise ConfigError(f"{where}: {text!r} is not a domain, such as `test` or `dev.example`")
    return suffix


def _modes(given: bool | str | tuple[str, ...] | None) -> str:  # noqa: FBT001 - the type of the file's field
    """The modes as a text for --port-forward. YAML reads `off` and `on` as booleans."""
    if isinstance(given, bool):
        return str(given).lower()
    return given if isinstance(given, str) else ",".join(given or ())


def _rule(item: RuleItem, origin: str) -> Rule:
    if item == RuleItem():
        raise ConfigError(f"{origin}: a rule names at least one of kind, name, namespace, labels, port")
    return Rule(
        origin=origin,
        kind=_kind(item.kind, f"{origin}: kind") if item.kind else "",
        name=item.name or "",
        namespace=item.namespace or "",
        labels=item.labels or {},
        port=checked_port(item.port, f"{origin}: port") if item.port else None,
    )


def _entries(item: ForwardItem, origin: str) -> list[Entry]:
    """The entries of one forward: one for each local port. Raises ConfigError."""
    kind = _kind(item.resource_type, f"{origin}: resourceType")
    container = kind == CONTAINER
    if (item.resource_name is None) == (item.selector is None):
        raise ConfigError(f"{origin}: a forward has either resourceName or selector")
    if container and item.selector is not None:
        raise ConfigError(f"{origin}: selector: a container is selected by its resourceName")
    if container and item.context is not None:
        raise ConfigError(f"{origin}: context: a container is in no cluster")
    name, namespace = item.resource_name or "", item.namespace or ""
    if not container and (problem := name_problem(name or "any", namespace)):
        raise ConfigError(f"{origin}: {problem}")
    if item.open is not None and not _PATH.fullmatch(item.open):
        raise ConfigError(f"{origin}: open: {item.open!r} is not a path: write /, then ASCII without spaces")
    port = checked_port(item.port, f"{origin}: port")
    local = (item.local_port,) if isinstance(item.local_port, int) else item.local_port or ()
    addresses = (item.address,) if isinstance(item.address, str) else item.address or ()
    return [
        Entry(
            source="direct",
            origin=origin,
            kind=kind,
            resource_type=kind,
            name=name,
            namespace=namespace,
            port=port,
            local_port=port_request,
            addresses=tuple(dict.fromkeys(checked_address(address, f"{origin}: address") for address in addresses)),
            selector=_selector(item.selector, f"{origin}: selector"),
            context=item.context or "",
            open_path="" if index else item.open or "",
        )
        for index, port_request in enumerate(
            [PortRequest(PortPolicy.EXPLICIT, number) for number in dict.fromkeys(local)] or [port_request_for(port)]
        )
    ]


def _kind(text: str, where: str) -> str:
    kind = CONTAINER if text.lower() == CONTAINER else kind_of(text)
    if kind is None:
        raise ConfigError(f"{where}: {text!r} is not one of {known_kinds(text)}")
    return kind


def _selector(given: dict[str, str] | str | None, where: str) -> str:
    if not given:
        if given is not None:
            raise ConfigError(f"{where}: it is empty, which selects nothing")
        return ""
    text = given if isinstance(given, str) else ",".join(f"{key}={value}" for key, value in given.items())
    return checked_selector(text, where)


def _explained(error: str, document: documents.Mapping, source: str) -> str:
    """msgspec's message with file and line: the line of the deepest value on the path that it names."""
    match = _AT.fullmatch(error)
    path = match["path"] if match else ""
    what = match["message"] if match else error
    at: Any = document
    line = document.line
    for step in _STEP.finditer(path):
        field, index = step["field"], step["index"]
        if field is not None and isinstance(at, documents.Mapping):
            line = at.lines.get(field, at.line)
            at = at.get(field)
        elif index is not None and isinstance(at, list) and int(index) < len(at):
            at = at[int(index)]
            line = at.line if isinstance(at, documents.Mapping) else line
    if (unknown := _UNKNOWN.fullmatch(what)) and isinstance(at, documents.Mapping):
        line = at.key_lines.get(unknown["field"], line)
        what += did_you_mean(unknown["field"], _fields_at(path))
    where = f": {path.removeprefix('.')}" if path else ""
    return f"{source} line {line}{where}: {what[:1].lower()}{what[1:]}"


def _fields_at(path: str) -> list[str]:
    """The fields that are valid at this path; those of other parts of the file would not help."""
    kind = _ITEMS.get(path.removeprefix(".").partition("[")[0], PortsideFile)
    return [field.encode_name for field in msgspec.structs.fields(kind)]
