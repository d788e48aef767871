"""Owns the options that every forwarding command shares, each with its environment variable.

Skaffold's own variable where it has one (SKAFFOLD_<FLAG>), else PORTSIDE_<FLAG>. Refuses to interpret them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from forwarders.spec import HOLD, LINGER, MOST_HELD
from watcher.errors import UsageError
from watcher.skaffold.environment import effective_environment, env_file_text

# Seconds that `portside wait` and --exec wait for: a first build may well take minutes.
READY_WITHIN = 300.0

F = TypeVar("F", bound=Callable[..., Any])


SKAFFOLD = "SKAFFOLD_"


class Seconds(click.FloatRange):
    """From 0 on; `inf` is for ever, `nan` is nothing."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is no number of seconds.", param, ctx)
        return seconds


@dataclass(frozen=True)
class Place:
    """Which cluster and which project are meant, as written; "" or () where nothing was asked."""

    namespace: str
    kube_context: str
    kubeconfig: str
    filename: tuple[str, ...]
    profile: tuple[str, ...]
    module: tuple[str, ...]


@dataclass(frozen=True)
class Options(Place):
    """What the user asked for, as written; "", () or None where nothing was asked."""

    port_forward: str | None
    address: tuple[str, ...]
    strict_ports: bool
    output: str
    status: str
    status_token_file: str
    gateway: str
    hold: float | None
    held: int
    linger: float
    verbose: int
    env_file: str
    exec_command: str
    exec_timeout: float
    publish: bool = True


@cache
def environment() -> Mapping[str, str]:
    """The environment with what skaffold.env adds to it, as the Skaffold beside us sees it."""
    return effective_environment(os.environ, env_file_text())


def _option(*names: str, env: str, **attributes: Any) -> Callable[[F], F]:
    if env.startswith(SKAFFOLD):
        # click itself looks at the process's variables only.
        attributes["default"] = _of_env_file(env, several=attributes.get("multiple", False))
    return click.option(*names, envvar=env, show_envvar=True, **attributes)


def _of_env_file(variable: str, *, several: bool) -> Callable[[], Any]:
    def default() -> Any:
        text = environment().get(variable)
        return ((text,) if text else ()) if several else text

    return default


_NAMESPACE = _option("--namespace", "-n", env="SKAFFOLD_NAMESPACE", help="Default: the context's.")
_NAMESPACES = _option(
    "--namespace",
    "-n",
    env="SKAFFOLD_NAMESPACE",
    multiple=True,
    help="Default: the context's. With --cluster repeatable: look for objects in these namespaces.",
)
# Which cluster is meant, beside the namespace.
_CLUSTER = (
    _option("--kube-context", env="SKAFFOLD_KUBE_CONTEXT", help="Default: the current one."),
    _option("--kubeconfig", env="SKAFFOLD_KUBECONFIG", help="Default: $KUBECONFIG, ~/.kube/config."),
)
# Which project.
_PROJECT = (
    _option(
        "--filename", "-f", env="SKAFFOLD_FILENAME", multiple=True, help="Default: skaffold.yaml, where it exists."
    ),
    _option("--profile", "-p", env="SKAFFOLD_PROFILE", multiple=True, help="Skaffold profiles."),
    _option("--module", "-m", env="SKAFFOLD_MODULE", multiple=True, help="Skaffold modules."),
)

_MODES = (
    _option(
        "--port-forward",
        env="SKAFFOLD_PORT_FORWARD",
        is_flag=False,
        flag_value="true",  # Skaffold's bare flag
        metavar="[MODES]",
        help="user, services, debug, pods (comma-separated), or off, true, false; bare: true.",
    ),
)
# What every forwarding command has.
_OPTIONS = (
    _option(
        "--address",
        env="PORTSIDE_ADDRESS",
        multiple=True,
        metavar="ADDR",
        help="Listen here; repeatable, comma-separated. Default 127.0.0.1, which also means ::1.",
    ),
    _option(
        "--strict-ports/--no-strict-ports",
        env="PORTSIDE_STRICT_PORTS",
        default=False,
        help="Fail a forward whose port is taken, in place of taking the next one.",
    ),
    _option(
        "--output",
        env="PORTSIDE_OUTPUT",
        type=click.Choice(["auto", "table", "plain", "json"]),
        default="auto",
        show_default=True,
        help="A live table, lines, or one JSON object a line. auto: the table on a terminal of our own, else lines.",
    ),
    _option(
        "--status",
        env="PORTSIDE_STATUS",
        metavar="ADDR:PORT|off",
        default="127.0.0.1:0",
        show_default=True,
        help="Where the page, /readyz, /v1/forwards and /metrics answer.",
    ),
    _option(
        "--status-token-file",
        env="PORTSIDE_STATUS_TOKEN_FILE",
        metavar="PATH",
        default="",
        help="The token that the status address asks for. Default beyond loopback: one is made; status --url names it.",
    ),
    _option(
        "--gateway",
        env="PORTSIDE_GATEWAY",
        metavar="[ADDR:]PORT",
        default="",
        help="Lead by name too: http://SERVICE.localhost:PORT/, from one listener to everything that is forwarded.",
    ),
    _option(
        "--hold",
        env="PORTSIDE_HOLD",
        type=Seconds(min=0),
        default=None,
        metavar="SECONDS",
        help=f"How long a connection waits while no pod can serve it. Default: {HOLD:.0f}.",
    ),
    _option(
        "--held",
        env="PORTSIDE_HELD",
        type=click.IntRange(min=0),
        default=MOST_HELD,
        show_default=True,
        help="How many may wait at once on one forward.",
    ),
    _option(
        "--linger",
        env="PORTSIDE_LINGER",
        type=Seconds(min=0),
        default=LINGER,
        show_default=True,
        metavar="SECONDS",
        help="How long a client's end of sending is held back for a late answer.",
    ),
    _option(
        "--env-file",
        env="PORTSIDE_ENV_FILE",
        metavar="FILE",
        default="",
        help="Keep WEB_8080_URL, WEB_8080_HOST, WEB_8080_PORT and so on in FILE, for `. FILE` and docker --env-file.",
    ),
    _option(
        "--exec",
        "exec_command",
        env="PORTSIDE_EXEC",
        metavar="COMMAND",
        default="",
        help="Run COMMAND in sh once all is ready, with those variables; then end everything with its exit code.",
    ),
    _option(
        "--exec-timeout",
        env="PORTSIDE_EXEC_TIMEOUT",
        type=Seconds(min=0),
        default=READY_WITHIN,
        show_default=True,
        metavar="SECONDS",
        help="What is not ready by then, --exec gives up: exit code 1.",
    ),
    click.option("--verbose", "-v", count=True, help="Say more on stderr; -vv still more."),
)


def shared(function: F) -> F:
    """Add the shared options; they arrive as keyword arguments for `collect`."""
    return _with((_NAMESPACE, *_CLUSTER, *_PROJECT, *_MODES, *_OPTIONS), function)


def without_project(function: F) -> F:
    """The same without those that choose a project or what of it is forwarded."""
    return _with((_NAMESPACE, *_CLUSTER, *_OPTIONS), function)


def shared_in_several_namespaces(function: F) -> F:
    """The same, but `namespace` is a tuple of all that were given."""
    return _with((_NAMESPACES, *_CLUSTER, *_PROJECT, *_MODES, *_OPTIONS), function)


def placed(function: F) -> F:
    """Add those of them that make a Place; they arrive as keyword arguments for `collect_place`."""
    return _with((_NAMESPACE, *_CLUSTER, *_PROJECT), function)


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
    help="Skaffold's event API: http://127.0.0.1:PORT, or just the port.",
)

beside_skaffold = _option(
    "--publish/--no-publish",
    env="PORTSIDE_PUBLISH",
    default=True,
    help="Tell Skaffold of the forwards (portEvents), so that IDEs that listen there see them.",
)


_NO_PROJECT: Mapping[str, Any] = {"port_forward": None, "filename": (), "profile": (), "module": ()}


def collect(given: dict[str, Any]) -> Options:
    """One value of what click parsed; comma lists are split where Skaffold splits them. Raises UsageError."""
    refuse_idle(
        ("--status-token-file", "status_token_file", "without a status address", given["status"] == "off"),
        ("--exec-timeout", "exec_timeout", "without --exec", not given["exec_command"]),
    )
    return Options(**_as_written({**_NO_PROJECT, **given}))


def refuse_idle(*rules: tuple[str, str, str, bool]) -> None:
    """Raises UsageError for an option of the command line that means nothing beside the others.

    Each rule: the option, its parameter's name, when it means nothing, and whether that is so. Variables may be set for
    other commands, and count for none.
    """
    context = click.get_current_context()
    for option, name, when, is_so in rules:
        if is_so and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"{option} means nothing {when}: leave it out")


def collect_place(given: dict[str, Any]) -> Place:
    """The same of what `placed` adds."""
    return Place(**_as_written(given))


def _as_written(given: dict[str, Any]) -> dict[str, Any]:
    from watcher.config.entries import checked_namespace  # --help does without

    for name in ("namespace", "kube_context", "kubeconfig"):
        given[name] = given[name] or ""
    checked_namespace(given["namespace"], "--namespace")
    for name in {"address", "profile", "module", "filename"} & given.keys():
        given[name] = tuple(part.strip() for text in given[name] for part in text.split(",") if part.strip())
    return given


def collect_own(given: dict[str, Any]) -> Options:
    """The same without what Skaffold's variables say: `run` reads those with Skaffold's own flags, which win."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name, variable = parameter.name or "", parameter.envvar
        if isinstance(variable, str) and variable.startswith(SKAFFOLD):
            own = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
            given[name] = given[name] if own else () if parameter.multiple else None
    return collect(given)
