"""Looks up the targets of `portside forward` when it starts: one that does not exist is a mistake, as with kubectl."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import trio
from msgspec.structs import replace

from forwarders.spec import Ask, PortWish
from watcher.cluster.client import Client
from watcher.cluster.errors import ApiError, ClusterError, UnreachableError
from watcher.cluster.kinds import BY_NAME
from watcher.cluster.objects import Resource
from watcher.cluster.store import Watch
from watcher.config.entries import Entry
from watcher.plan.ports import asked_number
from watcher.suggestions import did_you_mean

# With several clusters: what one of them has not answered by then keeps the others' forwards waiting no longer.
PATIENCE = 5.0
# Seconds that the list may take in which the right name of a misspelt one is looked for.
LISTED_WITHIN = 2.0

_Key = tuple[str, str, str, str]


async def looked_up(clients: Mapping[str, Client], entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The entries; those that name a port ask for its number. Raises ApiError naming what does not exist.

    `clients`: by context. An API server that does not answer is waited for later, and that is reported.
    """
    found: dict[_Key, Resource] = {}
    problems: list[ApiError] = []

    async def look(context: str, client: Client) -> None:
        with trio.move_on_after(PATIENCE if len(clients) > 1 else float("inf")):
            try:
                await _look_up(client, (entry for entry in entries if entry.context == context), found)
            except ApiError as error:
                problems.append(error)

    async with trio.open_nursery() as nursery:
        for context, client in clients.items():
            nursery.start_soon(look, context, client)
    if problems:
        raise problems[0]
    return tuple(_numbered(entry, found.get(_key(entry))) for entry in entries)


async def _look_up(client: Client, entries: Iterable[Entry], found: dict[_Key, Resource]) -> None:
    """Raises ApiError for what is not there; what may not be read may be there."""
    for kind, name, namespace, context in dict.fromkeys(map(_key, entries)):
        try:
            found[kind, name, namespace, context] = await client.get(BY_NAME[kind], namespace, name)
        except UnreachableError:
            return
        except ApiError as error:
            if error.code == 404:
                near = await _near(client, kind, namespace, name)
                raise ApiError(f"{error}{near}", error.code) from None


async def _near(client: Client, kind: str, namespace: str, name: str) -> str:
    """The end of the message that `name` does not exist: the one that was meant, where a list comes soon."""
    with trio.move_on_after(LISTED_WITHIN):
        try:
            listed = await client.list(Watch(BY_NAME[kind], namespace))
        except ClusterError:
            return ""
        return did_you_mean(name, [item.metadata.name for item in listed.objects])
    return ""


def _key(entry: Entry) -> _Key:
    return entry.kind, entry.name, entry.namespace, entry.context


def _numbered(entry: Entry, target: Resource | None) -> Entry:
    """A port by name is listened for at its number, where that is free."""
    number = asked_number(target, entry.port) if entry.wish.ask is Ask.AUTOMATIC else None
    return entry if number is None else replace(entry, wish=PortWish(Ask.PREFERRED, number))
