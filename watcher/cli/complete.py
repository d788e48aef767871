"""Owns the words that a shell completes: what the portsides that run here forward, or say that they do not.

Refuses to say anything but words: in the middle of a command line nobody wants to read errors.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable

import click

# A local program answers at once; whoever presses Tab waits for no other.
TIMEOUT = 1

_NEEDS_NO_QUOTES = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")


def seen_names(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """TYPE/NAME of everything that the portsides here have seen and that begins so; a type's short form is kept."""
    import httpx
    import msgspec

    from watcher.board.records import ExplainRecord
    from watcher.board.runtime import running_instances
    from watcher.config.entries import kind_of

    typed, slash, _ = incomplete.partition("/")
    names: set[str] = set()
    for running in running_instances():
        with contextlib.suppress(OSError, httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError):
            url, headers = f"{running.url}/v1/explain", running.headers()
            answer = httpx.get(url, headers=headers, timeout=TIMEOUT, trust_env=False).raise_for_status()
            records = msgspec.json.decode(answer.content, type=list[ExplainRecord])
            for one in records:
                kind = one.resource_type.lower()
                names.add(f"{typed if slash and kind_of(typed) == kind else kind}/{one.resource_name}")
    return offered(names, incomplete)


def offered(names: Iterable[str], incomplete: str) -> list[str]:
    """Those that begin so, in order.

    A shell puts them into the command line as they are. Names in Kubernetes and Docker need no quotes; a name that does
    is none, and is not offered.
    """
    return sorted(name for name in names if name.startswith(incomplete) and _NEEDS_NO_QUOTES.fullmatch(name))
