"""Owns `portside run -- skaffold …`: Skaffold as a child on our terminal, forwards in its place, its exit code."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import click

from watcher.cli import logs
from watcher.cli.options import Options, beside_skaffold, collect_own, environment, shared
from watcher.cli.surroundings import check_descriptors

logger = logging.getLogger("portside")

if TYPE_CHECKING:
    from watcher.cli.beside import Beside
    from watcher.cli.user_command import UserCommand
    from watcher.skaffold.command_line import SkaffoldCommand
    from watcher.skaffold.process import SkaffoldProcess

_DEPLOYS_NOTHING = {"build", "test", "verify", "exec"}

WRAPPED = (
    "%s is not Skaffold: the Skaffold that it starts gets SKAFFOLD_PORT_FORWARD=off and SKAFFOLD_RPC_HTTP_PORT=%d, and "
    "must have no such options of its own; portside reads the project as `%s`, with the options before --"
)

EPILOG = """\b
Examples:
  portside run -- skaffold dev
  portside run --output json -- skaffold dev -p staging --port-forward=user,services
  portside run -- skaffold run --port-forward
  portside run --exec 'pytest tests/e2e' -- skaffold dev --port-forward=services
  portside run -f k8s/skaffold.yaml -- make dev

What the words behind -- ask of Skaffold (-f, -p, -m, -n, --kube-context,
--kubeconfig, --rpc-http-port, --port-forward) holds for portside too.
A program that is not Skaffold (make, npm, a script) is started as it is; the
Skaffold in it is told by its environment, and portside by its own options.
"""


@click.command(name="run", epilog=EPILOG, context_settings={"ignore_unknown_options": False})
@click.argument("skaffold", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- skaffold dev ...")
@beside_skaffold
@shared
def command(skaffold: tuple[str, ...], **given: Any) -> int:
    """Start Skaffold (dev, debug, run, deploy), or a program that does, and forward what it deploys."""
    import trio

    options = collect_own(given)
    logs.set_up(options.verbose)
    check_descriptors()
    return trio.run(_run, skaffold, options)


async def _run(words: tuple[str, ...], options: Options) -> int:

    from forwarders.system.processes import send_signal, send_signal_to_tree
    from watcher.cli.beside import Beside
    from watcher.cli.configured import Configured, project_of
    from watcher.cli.insistence import Insistence
    from watcher.skaffold import command_line
    from watcher.skaffold.http_request import ApiAddress, free_port
    from watcher.skaffold.process import SkaffoldProcess, check_found

    environ = environment()
    asked = command_line.read_command(words, environ)
    _check_deploys(asked)
    options = as_asked(options, asked)
    project = project_of(options, asked.command, asked.binary, asked.profile_flags)
    configured = await Configured.load(options, asked.command, project, environ)
    check_found(words[0], environ.get("PATH"))
    port = asked.rpc_http_port or free_port()
    beside = await Beside.prepare("run", options, ApiAddress("127.0.0.1", port).url, configured)
    # Standard output is for our objects alone where a program reads them; what Skaffold prints is for people.
    stdout = sys.stderr.fileno() if options.output == "json" else None
    user_command = beside.host.user_command
    pass_on = user_command.send_signal if user_command else None
    child = command_line.child_environment(asked, port, environ)
    send = send_signal if asked.line else send_signal_to_tree
    if asked.line is None:
        logger.warning(WRAPPED, words[0], port, asked.reads_as)
    process = SkaffoldProcess(command_line.rewritten(asked, port), child, stdout, pass_on, Insistence().heard, send)
    return await _both(process, beside, asked)


def _check_deploys(asked: SkaffoldCommand) -> None:
    """Raises UsageError for a command after which there is nothing to forward to."""
    from watcher.errors import UsageError

    if asked.command in _DEPLOYS_NOTHING:
        raise UsageError(
            f"`{asked.binary} {asked.command}` deploys nothing that could be forwarded to: run it without portside, "
            "or give portside skaffold with dev, debug, run or deploy"
        )


def as_asked(options: Options, asked: SkaffoldCommand) -> Options:
    """Skaffold's own words, and its variables, hold where portside was given none: both mean the same project."""
    from dataclasses import replace

    from watcher.config.entries import checked_namespace

    return replace(
        options,
        port_forward=asked.port_forward if options.port_forward is None else options.port_forward,
        namespace=options.namespace or checked_namespace(asked.namespace, "--namespace"),
        kube_context=options.kube_context or asked.kube_context,
        kubeconfig=options.kubeconfig or asked.kubeconfig,
        filename=options.filename or ((asked.filename,) if _named(asked) else ()),
        profile=options.profile or asked.profiles,
        module=options.module or asked.modules,
    )


def _named(asked: SkaffoldCommand) -> bool:
    from watcher.config.skaffold_yaml import DEFAULT_FILE

    return asked.filename != DEFAULT_FILE


def outlived(command: str, code: int, *, forwards: bool) -> bool:
    """Whether portside stays when Skaffold has ended by itself: what `run` and `deploy` deployed is still there."""
    return command in {"run", "deploy"} and not code and forwards


async def _both(process: SkaffoldProcess, beside: Beside, asked: SkaffoldCommand) -> int:
    """Skaffold's exit code, or that of the command of --exec, which ends it.

    Ports are free as soon as Skaffold is told to end; its `run` and `deploy` are outlived.
    """
    import trio

    from forwarders.tasks import report
    from watcher.cli.until import until_signal

    async def forward() -> None:
        # Skaffold lives on if we fail: it has the terminal, and its user's work.
        try:
            with scope:
                await beside.run()
        except Exception as error:  # noqa: BLE001 - as above
            report(logger, "portside failed and forwards nothing any more, Skaffold goes on", error)

    async def let_go() -> None:
        await process.ending.wait()
        scope.cancel()

    commands_code: int | None = None

    async def execute(command: UserCommand) -> None:
        nonlocal commands_code
        commands_code = await command.run(beside.host.board)
        process.end()

    scope = trio.CancelScope()
    code = 1
    command = beside.host.user_command
    async with trio.open_nursery() as nursery:
        nursery.start_soon(let_go)
        nursery.start_soon(forward)
        if command is not None:
            nursery.start_soon(execute, command)
        code = await process.run()
        stays = outlived(asked.command, code, forwards=beside.forwards) and not process.ending.is_set()
        if command is not None and (stays or command.running):
            await until_signal(command.done.wait, command)
        elif stays:
            await until_signal(trio.sleep_forever)
        nursery.cancel_scope.cancel()
    return commands_code if command is not None and commands_code is not None else code
