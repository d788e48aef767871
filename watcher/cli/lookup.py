"""Looks up the targets of `portside forward` when it starts: where none exists that is a mistake, as with kubectl."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import partial

import trio
from msgspec.structs import replace

from forwarders.spec import PortPolicy, PortRequest
from watcher.cluster.client import ApiClient
from watcher.cluster.kinds import BY_NAME, Resource
from watcher.cluster.reflector import call_if_slow
from watcher.cluster.store import Watch
from watcher.config.entries import Entry
from watcher.errors import ApiError, ApiUnreachableError, ClusterError, did_you_mean
from watcher.plan.ports import asked_number

logger = logging.getLogger("portside")

# What an API server has not answered by then keeps no forward waiting: it is bound, and says what is missing.
PATIENCE = 5.0
# Seconds until the user is told what is being waited for.
SLOW = 1.5
# Seconds that the list may take in which the right name of a misspelt one is looked for.
LISTED_WITHIN = 2.0

_Key = tuple[str, str, str, str]


async def looked_up(clients: Mapping[str, ApiClient], entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The entries; those that name a port ask for its number. Raises ApiErrors where nothing of all that exists.

    Of several targets the others go on. `clients`: by context. An API server that does not answer is waited for later,
    and that is reported.
    """
    found: dict[_Key, Resource] = {}
    missing: dict[_Key, ApiError] = {}

    async def look(context: str, client: ApiClient) -> None:
        own = [entry for entry in entries if entry.context == context]
        say = partial(logger.warning, "%s has not answered yet; the targets are looked up there", client.url)
        with trio.move_on_after(PATIENCE):
            await call_if_slow(SLOW, say, partial(_look_up, client, own, found, missing))

    async with trio.open_nursery() as nursery:
        for context, client in clients.items():
            nursery.start_soon(look, context, client)
    if missing and missing.keys() == set(map(_key, entries)):
        raise ExceptionGroup("nothing of what was asked for exists", [*missing.values()])
    for problem in missing.values():
        logger.warning("%s", problem)
    return tuple(_numbered(entry, found.get(_key(entry))) for entry in entries)


async def _look_up(
    client: ApiClient, entries: Iterable[Entry], found: dict[_Key, Resource], missing: dict[_Key, ApiError]
) -> None:
    """What may not be read may be there."""
    for key in dict.fromkeys(map(_key, entries)):
        kind, name, namespace, _ = key
        try:
            found[key] = await client.get(BY_NAME[kind], namespace, name)
        except ApiUnreachableError:
            return
        except ApiError as error:
            if error.code == 404:
                near = await _near(client, kind, namespace, name)
                missing[key] = ApiError(f"{error}{near}", error.code)


async def _near(client: ApiClient, kind: str, namespace: str, name: str) -> str:
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
    number = asked_number(target, entry.port) if entry.local_port.policy is PortPolicy.AUTOMATIC else None
    return entry if number is None else replace(entry, local_port=PortRequest(PortPolicy.PREFERRED, number))
