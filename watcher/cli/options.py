"""Declares the options that several commands share, each with its environment variable.

The variable is Skaffold's own if Skaffold has one (SKAFFOLD_<FLAG>), else PORTSIDE_<FLAG>.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

from forwarders import HOLD, LINGER, MAX_WAITING
from watcher.cli.option_values import SKAFFOLD, environment

# Seconds that `portside wait` and --exec wait: a first build may take minutes.
READY_WITHIN = 300.0
# Seconds that Skaffold may take to notice a save: it collects changes for 1 s. Too short a time answers too early.
NOTICE_WITHIN = 3.0

F = TypeVar("F", bound=Callable[..., Any])


class Seconds(click.FloatRange):
    """A number of seconds; `inf` means forever, `nan` is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


def _option(*names: str, env: str, **attributes: Any) -> Callable[[F], F]:
    if env.startswith(SKAFFOLD):
        # click reads only the process's variables, not those of skaffold.env.
        attributes["default"] = _from_environment(env, several=attributes.get("multiple", False))
    return click.option(*names, envvar=env, show_envvar=True, **attributes)


def _from_environment(variable: str, *, several: bool) -> Callable[[], Any]:
    def default() -> Any:
        text = environment().get(variable)
        return ((text,) if text else ()) if several else text

    return default


_NAMESPACE = _option(
    "--namespace", "-n", env="SKAFFOLD_NAMESPACE", help="Kubernetes namespace. Default: the context's."
)
_NAMESPACES = _option(
    "--namespace",
    "-n",
    env="SKAFFOLD_NAMESPACE",
    multiple=True,
    help="Kubernetes namespace. Default: the context's. With --cluster repeatable: find objects in each of them.",
)
_CLUSTER = (
    _option("--kube-context", env="SKAFFOLD_KUBE_CONTEXT", help="Kubernetes context. Default: the current one."),
    _option(
        "--kubeconfig",
        env="SKAFFOLD_KUBECONFIG",
        help="Path of the kubeconfig. Default: $KUBECONFIG, else ~/.kube/config.",
    ),
)
_PROJECT = (
    _option(
        "--filename",
        "-f",
        env="SKAFFOLD_FILENAME",
        multiple=True,
        help="Path of the Skaffold configuration. Default: skaffold.yaml, if it exists.",
    ),
    _option("--profile", "-p", env="SKAFFOLD_PROFILE", multiple=True, help="Activate these Skaffold profiles."),
    _option("--module", "-m", env="SKAFFOLD_MODULE", multiple=True, help="Read only these Skaffold modules."),
)
_MODES = (
    _option(
        "--port-forward",
        env="SKAFFOLD_PORT_FORWARD",
        is_flag=False,
        flag_value="true",  # as Skaffold reads the flag without a value
        metavar="[MODES]",
        help="Choose what to forward: user, services, debug, pods (comma-separated), or off, true, false.",
    ),
)
_OPTIONS = (
    _option(
        "--address",
        env="PORTSIDE_ADDRESS",
        multiple=True,
        metavar="ADDR",
        help="Listen on this address; repeatable, comma-separated. Default: 127.0.0.1, which includes ::1.",
    ),
    _option(
        "--strict-ports/--no-strict-ports",
        env="PORTSIDE_STRICT_PORTS",
        default=False,
        help="Fail a forward whose port is taken, instead of using the next free one.",
    ),
    _option(
        "--output",
        env="PORTSIDE_OUTPUT",
        type=click.Choice(["auto", "table", "plain", "json"]),
        default="auto",
        show_default=True,
        help="Print a live table, lines, or JSON lines. auto: a table on a terminal of its own, else lines.",
    ),
    _option(
        "--status",
        env="PORTSIDE_STATUS",
        metavar="ADDR:PORT|off",
        default="127.0.0.1:0",
        show_default=True,
        help="Serve the page, /readyz, /v1/forwards and /metrics on this address.",
    ),
    _option(
        "--status-token-file",
        env="PORTSIDE_STATUS_TOKEN_FILE",
        metavar="PATH",
        default="",
        help="Read the token of the status address from this file. Default beyond loopback: a generated token.",
    ),
    _option(
        "--gateway",
        env="PORTSIDE_GATEWAY",
        metavar="[ADDR:]PORT",
        default="",
        help="Serve all forwards by name on one port as well: http://SERVICE.localhost:PORT/.",
    ),
    _option(
        "--hold",
        env="PORTSIDE_HOLD",
        type=Seconds(min=0),
        default=None,
        metavar="SECONDS",
        help=f"Let a connection wait this long while no pod is ready. Default: {HOLD:.0f}.",
    ),
    _option(
        "--max-waiting",
        env="PORTSIDE_MAX_WAITING",
        type=click.IntRange(min=0),
        default=MAX_WAITING,
        show_default=True,
        help="Maximum number of waiting connections per forward.",
    ),
    _option(
        "--linger",
        env="PORTSIDE_LINGER",
        type=Seconds(min=0),
        default=LINGER,
        show_default=True,
        metavar="SECONDS",
        help="After the client stops sending, wait this long for the reply.",
    ),
    _option(
        "--env-file",
        env="PORTSIDE_ENV_FILE",
        metavar="FILE",
        default="",
        help="Write WEB_8080_URL, WEB_8080_HOST, WEB_8080_PORT and so on to FILE, for `. FILE` and docker --env-file.",
    ),
    _option(
        "--exec",
        "exec_command",
        env="PORTSIDE_EXEC",
        metavar="COMMAND",
        default="",
        help="Run COMMAND in sh when all is ready, with those variables, then exit with its exit code.",
    ),
    _option(
        "--exec-timeout",
        env="PORTSIDE_EXEC_TIMEOUT",
        type=Seconds(min=0),
        default=READY_WITHIN,
        show_default=True,
        metavar="SECONDS",
        help="Give up --exec after this long: exit code 1.",
    ),
    click.option("--verbose", "-v", count=True, help="Log more to stderr; -vv logs even more."),
)


def shared(function: F) -> F:
    """Adds the options of all forwarding commands, as keyword arguments for `collect`."""
    return _with((_NAMESPACE, *_CLUSTER, *_PROJECT, *_MODES, *_OPTIONS), function)


def shared_in_several_namespaces(function: F) -> F:
    """The same; `namespace` is a tuple."""
    return _with((_NAMESPACES, *_CLUSTER, *_PROJECT, *_MODES, *_OPTIONS), function)


def without_project(function: F) -> F:
    """The same, without those for a Skaffold project."""
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
    envvar="SKAFFOLD_RPC_HTTP_PORT",
    show_envvar=True,
    metavar="URL",
    default="",
    help="Use Skaffold's event API at this address: http://127.0.0.1:PORT, or only the port.",
)

beside_skaffold = _option(
    "--publish/--no-publish",
    env="PORTSIDE_PUBLISH",
    default=True,
    help="Report the forwards to Skaffold (portEvents), for IDEs that read them there.",
)
