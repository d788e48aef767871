"""Turns the options of a command into one frozen value. --help does not import it, since it needs msgspec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource
from msgspec import Struct

from watcher.cli.option_values import SKAFFOLD, refuse_idle
from watcher.config.entries import checked_namespace


class Place(Struct, frozen=True):
    """The cluster and the project, as given on the command line; "" or () if not given."""

    namespace: str
    kube_context: str
    kubeconfig: str
    filename: tuple[str, ...]
    profile: tuple[str, ...]
    module: tuple[str, ...]


class Options(Place, frozen=True):
    """The shared options, as given on the command line; "", () or None if not given."""

    port_forward: str | None
    address: tuple[str, ...]
    strict_ports: bool
    output: str
    status: str
    status_token_file: str
    gateway: str
    direct: str | None
    hold: float | None
    max_waiting: int
    linger: float
    verbose: int
    env_file: str
    exec_command: str
    exec_timeout: float
    open: bool
    publish: bool = True


_TEXTS = {"namespace", "kube_context", "kubeconfig", "exec_command", "gateway", "env_file", "status_token_file"}
_NO_PROJECT: Mapping[str, Any] = {"port_forward": None, "filename": (), "profile": (), "module": ()}


def collect(given: dict[str, Any]) -> Options:
    """Makes Options of click's parameters; splits comma-separated lists as Skaffold does. Raises UsageError."""
    refuse_idle(
        ("--status-token-file", "status_token_file", "without a status address", given["status"] == "off"),
        ("--exec-timeout", "exec_timeout", "without --exec", not given["exec_command"]),
    )
    return Options(**_normalized({**_NO_PROJECT, **given}))


def collect_place(given: dict[str, Any]) -> Place:
    """Makes a Place of the parameters for cluster and project, which `placed` adds. Raises UsageError."""
    return Place(**_normalized(given))


def collect_own(given: dict[str, Any]) -> Options:
    """Makes Options (`collect`) without Skaffold's variables: `run` reads those with Skaffold's flags, which win."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name, variable = parameter.name or "", parameter.envvar
        if isinstance(variable, str) and variable.startswith(SKAFFOLD):
            own = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
            given[name] = given[name] if own else () if parameter.multiple else None
    return collect(given)


def _normalized(given: dict[str, Any]) -> dict[str, Any]:
    for name in _TEXTS & given.keys():
        given[name] = given[name] or ""
    checked_namespace(given["namespace"], "--namespace")
    for name in {"address", "profile", "module", "filename"} & given.keys():
        given[name] = tuple(part.strip() for text in given[name] for part in text.split(",") if part.strip())
    return given
