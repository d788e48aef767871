"""Declares the options that several commands share, each with its environment variable.

The variable follows from the flag: SKAFFOLD_<FLAG> if Skaffold has it, else PORTSIDE_<FLAG>. The help of an option fits
into one line if possible, so that a screen shows all options (`option_values`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import click

from forwarders import HOLD, LINGER, MAX_WAITING
from watcher.cli.completion import complete_contexts, complete_files, complete_modes, complete_namespaces
from watcher.cli.option_values import OF_SKAFFOLD, OUTPUT, PORTS, SKAFFOLD, TUNING, GroupedOption, Seconds, environment

OURS = "PORTSIDE_"  # how our variables start
READY_WITHIN = 300.0  # seconds for `portside wait` and --exec: a first build may take minutes
# Seconds that Skaffold may take to notice a save: it collects changes for 1 s. Too short a time answers too early.
NOTICE_WITHIN = 3.0

F = TypeVar("F", bound=Callable[..., Any])


def _option(flag: str, *names: str, **attributes: Any) -> Callable[[F], F]:
    """Declares an option of portside's own. --help shows its default if that is a value."""
    default = attributes.get("default")
    shown = bool(default) and default is not True
    return click.option(flag, *names, cls=GroupedOption, envvar=_variable(OURS, flag), show_default=shown, **attributes)


def _skaffold_option(flag: str, *names: str, multiple: bool = False, **attributes: Any) -> Callable[[F], F]:
    """Declares an option that Skaffold has too; its default is the variable's value, also from skaffold.env."""
    variable = _variable(SKAFFOLD, flag)

    def default() -> Any:
        text = environment().get(variable)
        return ((text,) if text else ()) if multiple else text

    attributes |= {"cls": GroupedOption, "envvar": variable, "multiple": multiple, "default": default}
    return click.option(flag, *names, **attributes)


def _variable(prefix: str, flag: str) -> str:
    return prefix + flag.partition("/")[0].removeprefix("--").upper().replace("-", "_")


def _namespace(*, several: bool) -> Callable[[F], F]:
    return _skaffold_option(
        "--namespace",
        "-n",
        multiple=several,
        metavar="NAME",
        shell_complete=complete_namespaces,
        help=f"Kubernetes namespace. Default: the context's.{' Repeatable with --cluster.' if several else ''}",
    )


_port_option, _output_option = partial(_option, group=PORTS), partial(_option, group=OUTPUT)
_tuning_option, _project_option = partial(_option, group=TUNING), partial(_skaffold_option, group=OF_SKAFFOLD)
_FILE: dict[str, Any] = {"metavar": "FILE", "shell_complete": complete_files}

_CLUSTER = (
    _skaffold_option(
        "--kube-context",
        metavar="NAME",
        shell_complete=complete_contexts,
        help="Kubernetes context. Default: the current one.",
    ),
    _skaffold_option(
        "--kubeconfig",
        **_FILE,
        help="Kubeconfig. Default: $KUBECONFIG, ~/.kube/config.",
    ),
)
_PROJECT = (
    _project_option(
        "--filename",
        "-f",
        multiple=True,
        **_FILE,
        help="Skaffold configuration. Default: skaffold.yaml.",
    ),
    _project_option(
        "--profile",
        "-p",
        multiple=True,
        metavar="NAME",
        help="Activate this Skaffold profile; repeatable.",
    ),
    _project_option(
        "--module",
        "-m",
        multiple=True,
        metavar="NAME",
        help="Read only this Skaffold module; repeatable.",
    ),
)
_MODES = (
    _project_option(
        "--port-forward",
        is_flag=False,
        flag_value="true",  # as Skaffold reads the flag without a value
        metavar="[MODES]",
        shell_complete=complete_modes,
        help="Choose what to forward: user, services, debug, pods (comma-separated), or off, true, false.",
    ),
)
_OPTIONS = (
    _option(
        "--exec",
        "exec_command",
        metavar="COMMAND",
        help="Run COMMAND in sh when all is ready, then exit.",
    ),
    _option(
        "--exec-timeout",
        type=Seconds(min=0),
        default=READY_WITHIN,
        metavar="SECONDS",
        help="Give up --exec after this long.",
    ),
    click.option("--verbose", "-v", cls=GroupedOption, count=True, help="Log more to stderr; -vv logs even more."),
    _port_option(
        "--address",
        multiple=True,
        metavar="ADDR",
        help="Listen here; repeatable. Default: 127.0.0.1, ::1.",
    ),
    _port_option(
        "--strict-ports/--no-strict-ports",
        default=False,
        help="Fail if a local port is taken; take no other one.",
    ),
    _port_option(
        "--gateway",
        metavar="[ADDR:]PORT",
        help="Serve http://SERVICE.localhost:PORT/ as well.",
    ),
    _port_option(
        "--open",
        is_flag=True,
        default=False,
        help="Open the first forward in the browser, once.",
    ),
    _output_option(
        "--output",
        type=click.Choice(["auto", "table", "plain", "json"]),
        default="auto",
        metavar="FORMAT",
        help="Print auto, table, plain or json.",
    ),
    _output_option(
        "--env-file",
        **_FILE,
        help="Write the URLs to FILE, as WEB_8080_URL and so on.",
    ),
    _output_option(
        "--status",
        metavar="ADDR:PORT|off",
        default="127.0.0.1:0",
        help="Serve the page, /readyz, /v1 and /metrics here.",
    ),
    _output_option(
        "--status-token-file",
        **_FILE,
        help="Read the token of the status address from FILE.",
    ),
    _tuning_option(
        "--direct",
        type=click.Choice(["auto", "always", "never"]),
        metavar="WHEN",
        help="Use pods' own addresses: auto, always, never.",
    ),
    _tuning_option(
        "--hold",
        type=Seconds(min=0),
        metavar="SECONDS",
        help=f"Wait this long for a ready pod. Default: {HOLD:.0f}.",
    ),
    _tuning_option(
        "--max-waiting",
        type=click.IntRange(min=0),
        default=MAX_WAITING,
        metavar="NUMBER",
        help="Maximum waiting connections.",
    ),
    _tuning_option(
        "--linger",
        type=Seconds(min=0),
        default=LINGER,
        metavar="SECONDS",
        help="After the client stops sending, wait this long for the reply.",
    ),
)


def _adding(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Makes a decorator that adds the options to a command, as keyword arguments."""

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


_PLACE = (_namespace(several=False), *_CLUSTER)
# The options of all forwarding commands, for `collect`.
shared = _adding(*_PLACE, *_PROJECT, *_MODES, *_OPTIONS)
# The same, but --namespace may be repeated, so `namespace` is a tuple.
shared_in_several_namespaces = _adding(_namespace(several=True), *_CLUSTER, *_PROJECT, *_MODES, *_OPTIONS)
# Of a forwarding command that reads no Skaffold project.
without_project = _adding(*_PLACE, *_OPTIONS)
# For cluster and project, for `collect_place`.
placed = _adding(*_PLACE, *_PROJECT)
# The arguments of an InstanceFilter.
choosing = _adding(
    click.option("--pid", type=click.IntRange(min=1), metavar="PID", help="Select the portside with this process id."),
    click.option(
        "--folder",
        type=click.Path(exists=True, file_okay=False, resolve_path=True),
        help="Select portsides started in this folder.",
    ),
)

event_api = click.option(
    "--skaffold",
    "url",
    cls=GroupedOption,
    envvar="SKAFFOLD_RPC_HTTP_PORT",
    group=OF_SKAFFOLD,
    metavar="URL",
    default="",
    help="Skaffold's event API: a URL, or only the port.",
)

beside_skaffold = _option(
    "--publish/--no-publish",
    group=OF_SKAFFOLD,
    default=True,
    help="Report the forwards to Skaffold, for IDEs.",
)
