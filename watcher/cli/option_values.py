"""Turns the parsed options of a forwarding command into one frozen value."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import click
from click.core import ParameterSource

from watcher.errors import UsageError
from watcher.skaffold.environment import effective_environment, env_file_text

# Variables of Skaffold start with this; portside reads them as Skaffold does, from skaffold.env as well.
SKAFFOLD = "SKAFFOLD_"


@dataclass(frozen=True)
class Place:
    """The cluster and the project, as given on the command line; "" or () if not given."""

    namespace: str
    kube_context: str
    kubeconfig: str
    filename: tuple[str, ...]
    profile: tuple[str, ...]
    module: tuple[str, ...]


@dataclass(frozen=True)
class Options(Place):
    """The shared options, as given on the command line; "", () or None if not given."""

    port_forward: str | None
    address: tuple[str, ...]
    strict_ports: bool
    output: str
    status: str
    status_token_file: str
    gateway: str
    hold: float | None
    max_waiting: int
    linger: float
    verbose: int
    env_file: str
    exec_command: str
    exec_timeout: float
    open: bool
    publish: bool = True


_NO_PROJECT: Mapping[str, Any] = {"port_forward": None, "filename": (), "profile": (), "module": ()}


@cache
def environment() -> Mapping[str, str]:
    """The environment and the additions of skaffold.env, as Skaffold itself sees them."""
    return effective_environment(os.environ, env_file_text())


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


def refuse_idle(*rules: tuple[str, str, str, bool]) -> None:
    """Raises UsageError for an option on the command line that has no effect together with the others.

    Each rule: the option, its parameter's name, the text that says when it has no effect, and whether that applies.
    Environment variables are exempt, because they may be set for other commands.
    """
    context = click.get_current_context()
    for option, name, when, applies in rules:
        if applies and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"{option} means nothing {when}: leave it out")


def _normalized(given: dict[str, Any]) -> dict[str, Any]:
    from watcher.config.entries import checked_namespace

    for name in ("namespace", "kube_context", "kubeconfig"):
        given[name] = given[name] or ""
    checked_namespace(given["namespace"], "--namespace")
    for name in {"address", "profile", "module", "filename"} & given.keys():
        given[name] = tuple(part.strip() for text in given[name] for part in text.split(",") if part.strip())
    return given
