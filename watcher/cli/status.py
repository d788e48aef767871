"""Owns `portside status`: what the portsides that run here say of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from watcher.board.runtime import Running


@click.command(name="status", epilog="Example: portside status --output json | jq .url")
@click.option("--output", type=click.Choice(["plain", "json"]), default="plain", show_default=True)
@click.option("--url", is_flag=True, help="Print the newest portside's status address alone.")
def command(output: str, *, url: bool) -> int:
    """Show the forwards of the portsides that run here. Exit code 1 where none runs."""
    from watcher.board.runtime import found

    running = found()
    if not running:
        click.echo("portside: no portside runs here", err=True)
        return 1
    if url:
        click.echo(running[-1].url)
        return 0
    answered = [_show(one, output) for one in running]
    return 0 if any(answered) else 1


def _show(running: Running, output: str) -> bool:
    """Print its forwards; False where it does not answer."""
    import httpx
    import msgspec

    from watcher.board.lines import JsonLines, printable
    from watcher.board.records import ForwardRecord

    try:
        # A local program answers at once, or is in trouble.
        answer = httpx.get(f"{running.url}/v1/forwards", timeout=5, trust_env=False).raise_for_status()
        forwards = msgspec.json.decode(answer.content, type=list[ForwardRecord])
    except (httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError) as error:
        said = printable(str(error))
        click.echo(
            f"portside: {running.command} (pid {running.pid}) does not answer at {running.url}: {said}", err=True
        )
        return False
    for forward in forwards:
        if output == "json":
            click.echo("".join(JsonLines().lines(forward)), nl=False)
        else:
            target = f"{forward.resource_type}/{forward.resource_name}:{forward.remote_port}"
            click.echo(printable(f"{forward.state:10} {forward.url or '-':28} {target}  {forward.reason}").rstrip())
    return True
