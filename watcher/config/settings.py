"""Owns the types of portside.yaml, and so its JSON Schema; and what is made of them.

Refuses to read files, and to check what a type cannot say.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from watcher.config.entries import Entry
from watcher.config.rules import Rules

FILE = "portside.yaml"

Port = Annotated[int, Meta(ge=1, le=65535)]
Text = Annotated[str, Meta(min_length=1)]


class RuleItem(Struct, frozen=True, forbid_unknown_fields=True):
    """What has all that is named here. `name` and `namespace` may hold * and ?; `kind` as kubectl takes it."""

    kind: Text | None = None
    name: Text | None = None
    namespace: Text | None = None
    labels: dict[str, str] | None = None
    port: Port | Text | None = None


class ForwardItem(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A forward beside those of the modes. Exactly one of `resourceName` and `selector`. `context`: a kube-context."""

    resource_type: Text
    port: Port | Text
    resource_name: Text | None = None
    selector: dict[str, str] | Text | None = None
    namespace: Text | None = None
    context: Text | None = None
    local_port: Port | Annotated[tuple[Port, ...], Meta(min_length=1)] | None = None
    address: Text | Annotated[tuple[Text, ...], Meta(min_length=1)] | None = None


class PortsideFile(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """portside.yaml. `portForward`: default modes. `addresses`: where to listen. `hold`: seconds a connection waits.

    `gateway`: [ADDR:]PORT of one listener that leads to all by name; `gatewaySuffixes`: names' ends beside localhost.
    """

    api_version: Literal["portside/v1"]
    port_forward: bool | Text | tuple[Text, ...] | None = None
    addresses: tuple[Text, ...] | None = None
    hold: Annotated[float, Meta(ge=0)] | None = None
    gateway: Port | Text | None = None
    gateway_suffixes: tuple[Text, ...] | None = None
    include: tuple[RuleItem, ...] | None = None
    exclude: tuple[RuleItem, ...] | None = None
    forwards: tuple[ForwardItem, ...] | None = None


class Settings(Struct, frozen=True, kw_only=True):
    """What portside.yaml says. `modes` as for --port-forward, "" where it says nothing; `hold` likewise None.

    `modes_origin`, `gateway_origin`: file, line and field, for messages. `gateway`: as for --gateway, "" likewise.
    """

    modes: str = ""
    modes_origin: str = ""
    addresses: tuple[str, ...] = ()
    hold: float | None = None
    gateway: str = ""
    gateway_origin: str = ""
    gateway_suffixes: tuple[str, ...] = ()
    rules: Rules = Rules()
    entries: tuple[Entry, ...] = ()


def schema() -> dict[str, Any]:
    """The JSON Schema of portside.yaml."""
    found = msgspec.json.schema(PortsideFile)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": FILE, **found}
