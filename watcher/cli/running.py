"""Owns asking the portsides that run on this machine: who they are, and what one of them answers at its status address.

Refuses to ask anything but this machine, and to fail for one that does not answer: that is said on stderr.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from watcher.board.runtime import Running

T = TypeVar("T")

# A local program answers at once, or is in trouble.
TIMEOUT = 5


def running_here() -> list[Running]:
    """Those that run, the newest last; says so where there is none."""
    from watcher.board.runtime import found

    running = found()
    if not running:
        click.echo("portside: no portside runs here", err=True)
    return running


def ask(running: Running, path: str, kind: type[T]) -> T | None:
    """What `path` of its status address holds; None, said on stderr, where it does not answer so."""
    import httpx
    import msgspec

    from watcher.board.text import printable

    try:
        answer = httpx.get(f"{running.url}{path}", headers=running.headers(), timeout=TIMEOUT, trust_env=False)
        answer.raise_for_status()
        return msgspec.json.decode(answer.content, type=kind)
    except (OSError, httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError) as error:
        said = f"{running.command} (pid {running.pid}) does not answer at {running.url}: {error}"
        click.echo(f"portside: {printable(said)}", err=True)
        return None
