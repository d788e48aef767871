"""Declares the options that several commands share, each with its environment variable.

The variable is Skaffold's own if Skaffold has one (SKAFFOLD_<FLAG>), else PORTSIDE_<FLAG>. The help of an option fits
into one line if possible, so that a screen shows all options (`option_values`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from forwarders import HOLD, LINGER, MAX_WAITING
from watcher.cli.completion import complete_contexts, complete_files, complete_modes, complete_namespaces
from watcher.cli.option_values import OF_SKAFFOLD, OUTPUT, PORTS, SKAFFOLD, TUNING, GroupedOption, Seconds, environment

READY_WITHIN = 300.0  # seconds for `portside wait` and --exec: a first build may take minutes
# Seconds that Skaffold may take to notice a save: it collects changes for 1 s. Too short a time answers too early.
NOTICE_WITHIN = 3.0

F = TypeVar("F", bound=Callable[..., Any])


def _option(*names: str, env: str, **attributes: Any) -> Callable[[F], F]:
    if env.startswith(SKAFFOLD):
        # click reads only the process's variables, not those of skaffold.env.
        attributes["default"] = _from_environment(env, several=attributes.get("multiple", False))
    return click.option(*names, cls=GroupedOption, envvar=env, **attributes)


def _from_environment(variable: str, *, several: bool) -> Callable[[], Any]:
    def default() -> Any:
        text = environment().get(variable)
        return ((text,) if text else ()) if several else text

    return default


_NAMESPACE = _option(
    "--namespace",
    "-n",
    env="SKAFFOLD_NAMESPACE",
    metavar="NAME",
    shell_complete=complete_namespaces,
    help="Kubernetes namespace. Default: the context's.",
)
_NAMESPACES = _option(
    "--namespace",
    "-n",
    env="SKAFFOLD_NAMESPACE",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_namespaces,
    help="Kubernetes namespace. Default: the context's. Repeatable with --cluster.",
)
_CLUSTER = (
    _option(
        "--kube-context",
        env="SKAFFOLD_KUBE_CONTEXT",
        metavar="NAME",
        shell_complete=complete_contexts,
        help="Kubernetes context. Default: the current one.",
    ),
    _option(
        "--kubeconfig",
        env="SKAFFOLD_KUBECONFIG",
        metavar="FILE",
        shell_complete=complete_files,
        help="Kubeconfig. Default: $KUBECONFIG, ~/.kube/config.",
    ),
)
_PROJECT = (
    _option(
        "--filename",
        "-f",
        env="SKAFFOLD_FILENAME",
        group=OF_SKAFFOLD,
        multiple=True,
        metavar="FILE",
        shell_complete=complete_files,
        help="Skaffold configuration. Default: skaffold.yaml.",
    ),
    _option(
        "--profile",
        "-p",
        env="SKAFFOLD_PROFILE",
        group=OF_SKAFFOLD,
        multiple=True,
        metavar="NAME",
        help="Activate this Skaffold profile; repeatable.",
    ),
    _option(
        "--module",
        "-m",
        env="SKAFFOLD_MODULE",
        group=OF_SKAFFOLD,
        multiple=True,
        metavar="NAME",
        help="Read only this Skaffold module; repeatable.",
    ),
)
_MODES = (
    _option(
        "--port-forward",
        env="SKAFFOLD_PORT_FORWARD",
        group=OF_SKAFFOLD,
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
        env="PORTSIDE_EXEC",
        metavar="COMMAND",
        default="",
        help="Run COMMAND in sh when all is ready, then exit.",
    ),
    _option(
        "--exec-timeout",
        env="PORTSIDE_EXEC_TIMEOUT",
        type=Seconds(min=0),
        default=READY_WITHIN,
        show_default=True,
        metavar="SECONDS",
        help="Give up --exec after this long.",
    ),
    click.option("--verbose", "-v", cls=GroupedOption, count=True, help="Log more to stderr; -vv logs even more."),
    _option(
        "--address",
        env="PORTSIDE_ADDRESS",
        group=PORTS,
        multiple=True,
        metavar="ADDR",
        help="Listen here; repeatable. Default: 127.0.0.1, ::1.",
    ),
    _option(
        "--strict-ports/--no-strict-ports",
        env="PORTSIDE_STRICT_PORTS",
        group=PORTS,
        default=False,
        help="Fail if a local port is taken; take no other one.",
    ),
    _option(
        "--gateway",
        env="PORTSIDE_GATEWAY",
        group=PORTS,
        metavar="[ADDR:]PORT",
        default="",
        help="Serve http://SERVICE.localhost:PORT/ as well.",
    ),
    _option(
        "--open",
        env="PORTSIDE_OPEN",
        group=PORTS,
        is_flag=True,
        default=False,
        help="Open the first forward in the browser, once.",
    ),
    _option(
        "--output",
        env="PORTSIDE_OUTPUT",
        group=OUTPUT,
        type=click.Choice(["auto", "table", "plain", "json"]),
        default="auto",
        show_default=True,
        metavar="FORMAT",
        help="Print auto, table, plain or json.",
    ),
    _option(
        "--env-file",
        env="PORTSIDE_ENV_FILE",
        group=OUTPUT,
        metavar="FILE",
        default="",
        shell_complete=complete_files,
        help="Write the URLs to FILE, as WEB_8080_URL and so on.",
    ),
    _option(
        "--status",
        env="PORTSIDE_STATUS",
        group=OUTPUT,
        metavar="ADDR:PORT|off",
        default="127.0.0.1:0",
        show_default=True,
        help="Serve the page, /readyz, /v1 and /metrics here.",
    ),
    _option(
        "--status-token-file",
        env="PORTSIDE_STATUS_TOKEN_FILE",
        group=OUTPUT,
        metavar="FILE",
        default="",
        shell_complete=complete_files,
        help="Read the token of the status address from FILE.",
    ),
    _option(
        "--direct",
        env="PORTSIDE_DIRECT",
        group=TUNING,
        type=click.Choice(["auto", "always", "never"]),
        default=None,
        metavar="WHEN",
        help="Use pods' own addresses: auto, always, never.",
    ),
    _option(
        "--hold",
        env="PORTSIDE_HOLD",
        group=TUNING,
        type=Seconds(min=0),
        default=None,
        metavar="SECONDS",
        help=f"Wait this long for a ready pod. Default: {HOLD:.0f}.",
    ),
    _option(
        "--max-waiting",
        env="PORTSIDE_MAX_WAITING",
        group=TUNING,
        type=click.IntRange(min=0),
        default=MAX_WAITING,
        show_default=True,
        metavar="NUMBER",
        help="Maximum waiting connections.",
    ),
    _option(
        "--linger",
        env="PORTSIDE_LINGER",
        group=TUNING,
        type=Seconds(min=0),
        default=LINGER,
        show_default=True,
        metavar="SECONDS",
        help="After the client stops sending, wait this long for the reply.",
    ),
)


def shared(function: F) -> F:
    """Adds the options of all forwarding commands, as keyword arguments for `collect`."""
    return _with((_NAMESPACE, *_CLUSTER, *_PROJECT, *_MODES, *_OPTIONS), function)


def shared_in_several_namespaces(function: F) -> F:
    """Adds the options of all forwarding commands; --namespace may be repeated, so `namespace` is a tuple."""
    return _with((_NAMESPACES, *_CLUSTER, *_PROJECT, *_MODES, *_OPTIONS), function)


def without_project(function: F) -> F:
    """Adds the options of a forwarding command that reads no Skaffold project."""
    return _with((_NAMESPACE, *_CLUSTER, *_OPTIONS), function)


def placed(function: F) -> F:
    """Adds the options for cluster and project, as keyword arguments for `collect_place`."""
    return _with((_NAMESPACE, *_CLUSTER, *_PROJECT), function)


def choosing(function: F) -> F:
    """Adds --pid and --folder, as the arguments `pid` and `folder` for InstanceFilter."""
    folder = click.Path(exists=True, file_okay=False, resolve_path=True)
    pid = click.IntRange(min=1)
    options = (
        click.option("--pid", type=pid, default=None, metavar="PID", help="Select the portside with this process id."),
        click.option("--folder", type=folder, default=None, help="Select portsides started in this folder."),
    )
    return _with(options, function)


def _with(options: tuple[Callable[[F], F], ...], function: F) -> F:
    for option in reversed(options):
        function = option(function)
    return function


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
    env="PORTSIDE_PUBLISH",
    group=OF_SKAFFOLD,
    default=True,
    help="Report the forwards to Skaffold, for IDEs.",
)
