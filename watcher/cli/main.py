"""Owns the `portside` command: its sub-commands by name, its exit codes, the one line a mistake gets.

Refuses every import that `--help` does not need.
"""

from __future__ import annotations

import contextlib
import importlib
import sys

import click

from forwarders.system.processes import restore_default_ctrl_c
from watcher.cli.surroundings import check_folder, give_up_full_output, open_streams
from watcher.errors import UsageError, WatcherError, did_you_mean

# httpx brings a command line of its own along, and with it rich and pygments: a tenth of our whole start.
sys.modules["httpx._main"] = None  # type: ignore[assignment] # Python's own way to say that a module is not to be had

# Name: (module, the line in --help). A module is imported when its command is asked for.
COMMANDS = {
    "run": ("watcher.cli.run", "Start Skaffold and forward what it deploys."),
    "watch": ("watcher.cli.watch", "Forward what a Skaffold that runs (or will) deploys."),
    "forward": ("watcher.cli.forward", "Forward now, like kubectl port-forward, for good."),
    "explain": ("watcher.cli.explain", "Say of everything seen whether it is forwarded, and which rule decided."),
    "doctor": ("watcher.cli.doctor", "Check everything that portside stands on, and say what to do."),
    "schema": ("watcher.cli.schema", "Print the JSON Schema of portside.yaml."),
    "status": ("watcher.cli.status", "Show the forwards of the portsides that run here."),
    "wait": ("watcher.cli.wait", "Return once they are ready: for scripts."),
    "completion": ("watcher.cli.completion", "Print the completion script for bash, zsh or fish."),
}

DONE, FAILED, USAGE = 0, 1, 2


class _Commands(click.Group):
    """Sub-commands whose modules are imported late."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
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
    epilog="Exit codes: 0 done; 1 it failed while running; 2 wrong usage or configuration; under run, Skaffold's own.",
)
@click.version_option(package_name="portside")
def portside() -> None:
    """Localhost ports that always lead to what was deployed last.

    \b
    portside run -- skaffold dev          beside a Skaffold that it starts
    portside watch                        beside a Skaffold that runs already
    portside forward svc/web 8080:80      without Skaffold
    """
    check_folder()


def main() -> None:
    """The console script. Every expected error is one line on stderr."""
    # Until a command has something to end in good order (host.until_signal), Ctrl-C ends us as it ends any program:
    # at once and without a word. Where it is ignored (a script's background job) it stays so.
    restore_default_ctrl_c()
    open_streams()
    try:
        code = portside.main(prog_name="portside", standalone_mode=False)
    except click.exceptions.Abort:
        code = FAILED
    except click.ClickException as error:
        help_of = f"; see {error.ctx.command_path} --help" if isinstance(error, click.UsageError) and error.ctx else ""
        _say(f"{' '.join(error.format_message().split())}{help_of}")
        code = USAGE if isinstance(error, click.UsageError) else error.exit_code
    except (WatcherError, OSError, ExceptionGroup) as error:
        code = _explain(error)
        give_up_full_output()
    sys.exit(code if isinstance(code, int) else DONE)


def _explain(error: Exception) -> int:
    """Say what is meant for the user; a group with anything else in it is a defect, and goes on as it is."""
    expected, other = _split(error)
    if other is not None:
        raise other
    for one in expected:
        _say(_system_error(one) if isinstance(one, OSError) else str(one))
    return USAGE if any(isinstance(one, UsageError) for one in expected) else FAILED


def _system_error(error: OSError) -> str:
    """What nobody nearer to it had a better word for: no descriptors, no memory, no room on the disk."""
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror or error}"


def _say(text: str) -> None:
    """One line on stderr: texts come from clusters and files, and must not steer a terminal."""
    from watcher.board.lines import printable

    with contextlib.suppress(OSError):  # a full disk: the exit code says it as well
        click.echo(f"portside: {printable(text)}", err=True)


def _split(error: Exception) -> tuple[list[Exception], Exception | None]:
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
