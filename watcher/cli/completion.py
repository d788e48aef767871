"""Owns `portside completion`: the script by which a shell completes our words. Made by click."""

from __future__ import annotations

import click

EPILOG = """\b
Examples:
  eval "$(portside completion bash)"                      in ~/.bashrc
  eval "$(portside completion zsh)"                       in ~/.zshrc, after compinit
  portside completion fish > ~/.config/fish/completions/portside.fish

wait and explain complete TYPE/NAME from what the portsides that run here see.
"""


@click.command(name="completion", epilog=EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print the completion script for a shell."""
    from click.shell_completion import get_completion_class

    from watcher.cli.main import portside

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - the three are click's own
    click.echo(kind(portside, {}, "portside", "_PORTSIDE_COMPLETE").source())
    return 0
