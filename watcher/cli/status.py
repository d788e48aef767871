"""Owns `portside status`: what the portsides that run here say of themselves."""

from __future__ import annotations

import click


@click.command(name="status", epilog="Example: portside status --output json | jq .url")
@click.option("--output", type=click.Choice(["plain", "json"]), default="plain", show_default=True)
@click.option("--url", is_flag=True, help="Print the newest portside's status address alone.")
def command(output: str, *, url: bool) -> int:
    """Show the forwards of the portsides that run here. Exit code 1 where none runs."""
    import httpx

    from watcher.board.lines import printable
    from watcher.board.runtime import found

    running = found()
    if not running:
        click.echo("portside: no portside runs here", err=True)
        return 1
    if url:
        click.echo(running[-1].url)
        return 0
    for one in running:
        try:
            # A local program answers at once, or is in trouble.
            forwards = httpx.get(f"{one.url}/v1/forwards", timeout=5, trust_env=False).raise_for_status().json()
        except httpx.HTTPError as error:
            click.echo(f"portside: {one.command} (pid {one.pid}) does not answer at {one.url}: {error}", err=True)
            continue
        for forward in forwards:
            if output == "json":
                import json

                click.echo(json.dumps(forward, separators=(",", ":")))
            else:
                target = f"{forward['resourceType']}/{forward['resourceName']}:{forward['remotePort']}"
                click.echo(
                    printable(
                        f"{forward['state']:10} {forward['url'] or '-':28} {target}  {forward['reason']}"
                    ).rstrip()
                )
    return 0
