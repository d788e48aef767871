"""The `portside` command: finds its sub-commands by name, and turns errors into one line and an exit code.

It imports only what `--help` needs.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from datetime import UTC, datetime

import click

from forwarders.system.terminals import print_utf8
from watcher.errors import UsageError, WatcherError, did_you_mean

# httpx would import its own command line, with rich and pygments: a tenth of the time that portside takes to start.
sys.modules["httpx._main"] = None  # type: ignore[assignment] # Python's own way to make an import fail

FORWARDING, INSTANCES, UTILITIES = "forwarding_commands", "instance_commands", "utility_commands"
# Name: (module, which is imported when the command is used; the line in --help).
COMMANDS = {
    "run": (FORWARDING, "Start Skaffold and forward what it deploys."),
    "watch": (FORWARDING, "Forward what a running Skaffold deploys, or labelled objects of a cluster."),
    "forward": (FORWARDING, "Forward named resources and keep forwarding when their pods are replaced."),
    "explain": (INSTANCES, "Show what is forwarded, what is not, and why."),
    "doctor": (UTILITIES, "Check kubeconfig, permissions, Skaffold and ports, and print what to do."),
    "schema": (UTILITIES, "Print the JSON Schema of portside.yaml."),
    "status": (INSTANCES, "Show the forwards of the portsides that run here."),
    "wait": (INSTANCES, "Return when forwards are ready, for scripts."),
    "mcp": (UTILITIES, "Serve the forwards that run here to agents (Model Context Protocol)."),
    "completion": (UTILITIES, "Print the completion script for bash, zsh or fish."),
}

DONE, FAILED, USAGE = 0, 1, 2
# When the user typed the command, nearly: other imports follow.
STARTED = datetime.now(UTC)


class _Commands(click.Group):
    """The sub-commands; the module of each is imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"watcher.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f'there is no command "{args[0]}"{did_you_mean(args[0], COMMANDS)}', ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done; 1 failed while running; 2 wrong usage or configuration; under run, Skaffold's own. "
    "Variables: PORTSIDE_HOLD sets --hold, and so on; options of Skaffold have Skaffold's (SKAFFOLD_NAMESPACE).",
)
@click.version_option(package_name="portside")
def portside() -> None:
    """Local ports that always reach the pods of the last deploy.

    \b
    portside run -- skaffold dev          starts Skaffold and forwards beside it
    portside watch                        forwards beside a Skaffold that runs already
    portside forward svc/web 8080:80      forwards without Skaffold
    """
    try:
        os.getcwd()
    except OSError as error:
        raise UsageError(f"the working folder cannot be used: {error.strerror}; cd into one that exists") from None


def main() -> None:
    """Runs the command, and prints every expected error as one line on stderr."""
    _open_streams()
    if "_PORTSIDE_COMPLETE" in os.environ:
        from watcher.cli.shells import prepare_completion

        prepare_completion()
    try:
        code = portside.main(prog_name="portside", standalone_mode=False)
    except click.exceptions.Abort:
        code = FAILED
    except click.ClickException as error:
        help_of = f"; see {error.ctx.command_path} --help" if isinstance(error, click.UsageError) and error.ctx else ""
        print_error(f"{' '.join(error.format_message().split())}{help_of}")
        code = USAGE if isinstance(error, click.UsageError) else error.exit_code
    except (WatcherError, OSError, ExceptionGroup) as error:
        code = _report(error)
        _drop_unwritten_output()
    sys.exit(code if isinstance(code, int) else DONE)


def _open_streams() -> None:
    """Opens the null device for each standard stream that is closed (`>&-`).

    Otherwise the next socket would get its number, and what is printed would go to the socket.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - open until the end
    print_utf8()


def _drop_unwritten_output() -> None:
    """Discards output that a full disk did not take. Python would write it again at exit and print a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _report(error: Exception) -> int:
    """Prints expected errors and returns the exit code. Any other error is a bug and is raised again."""
    expected, other = _split(error)
    if other is not None:
        raise other
    for one in expected:
        print_error(_system_error(one) if isinstance(one, OSError) else str(one))
    return USAGE if any(isinstance(one, UsageError) for one in expected) else FAILED


def _system_error(error: OSError) -> str:
    """Describes an OSError that nothing else has explained, such as a full disk or too few descriptors."""
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror or error}"


def print_error(text: str) -> None:
    """Prints one line on stderr. Texts come from clusters and files, and must not control a terminal."""
    from watcher.board.lines import printable

    with contextlib.suppress(OSError):  # a full disk: the exit code still tells
        click.echo(f"portside: {printable(text)}", err=True)


def _split(error: Exception) -> tuple[list[Exception], Exception | None]:
    """Splits a group into its expected errors, in order, and the rest."""
    if not isinstance(error, ExceptionGroup):
        return [error], None
    matching, rest = error.split((WatcherError, OSError))
    leaves: list[Exception] = []
    groups: list[Exception] = [matching] if matching else []
    while groups:
        one = groups.pop(0)
        if isinstance(one, ExceptionGroup):
            groups[:0] = one.exceptions
        else:
            leaves.append(one)
    return leaves, rest
