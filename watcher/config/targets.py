"""Owns the words of `portside forward`: kubectl's syntax, for several targets. Refuses IO.

A word with "/" is a target. Digits, or a word with ":", are a port. Any other word is a pod's name, except right after
a target that has no port yet: there it is a port's name (`svc/web http`).
"""

from __future__ import annotations

from collections.abc import Sequence

from forwarders.spec import Ask, PortWish
from watcher.config.entries import Entry, kind_of, known_kinds, wish_for
from watcher.config.errors import ConfigError


def parse_targets(words: Sequence[str], *, namespace: str, addresses: tuple[str, ...]) -> tuple[Entry, ...]:
    """One entry for each port. Raises ConfigError naming the word."""
    entries: list[Entry] = []
    target: tuple[str, str, str] | None = None
    ports_of_target = 0
    for word in words:
        is_port = ":" in word or word.isdigit() or (target is not None and not ports_of_target and "/" not in word)
        if not is_port:
            _need_port(target, ports_of_target)
            target, ports_of_target = _target(word), 0
            continue
        if target is None:
            raise ConfigError(f"{word!r} is a port, but no target stands before it: portside forward TYPE/NAME {word}")
        kind, resource_type, name = target
        port, wish = _port(word)
        ports_of_target += 1
        entries.append(
            Entry(
                source="direct",
                origin=f"argument {word!r}",
                kind=kind,
                resource_type=resource_type,
                name=name,
                namespace=namespace,
                port=port,
                wish=wish,
                addresses=addresses,
            )
        )
    _need_port(target, ports_of_target)
    return tuple(entries)


def _need_port(target: tuple[str, str, str] | None, ports: int) -> None:
    if target is not None and not ports:
        _, resource_type, name = target
        raise ConfigError(f"{resource_type}/{name} has no port: portside forward {resource_type}/{name} [LOCAL:]PORT")


def _target(word: str) -> tuple[str, str, str]:
    resource_type, slash, name = word.rpartition("/")
    if not slash:
        return "pod", "pod", word
    kind = kind_of(resource_type)
    if kind is None or kind == "container":
        raise ConfigError(f"{word!r}: {resource_type!r} is no type that can be forwarded to; known: {known_kinds()}")
    if not name or "/" in resource_type:
        raise ConfigError(f"{word!r}: expected TYPE/NAME")
    return kind, kind, name


def _port(word: str) -> tuple[int | str, PortWish]:
    local, colon, remote = word.rpartition(":")
    if not remote or ":" in local:
        raise ConfigError(f"{word!r}: expected [LOCAL:]REMOTE, LOCAL a number, REMOTE a number or a port's name")
    port: int | str = _number(remote, word) if remote.isdigit() else remote
    if not colon:
        return port, wish_for(port)
    if not local or local == "0":
        return port, PortWish(Ask.SYSTEM)
    if not local.isdigit():
        raise ConfigError(f"{word!r}: the local port {local!r} is not a number")
    return port, PortWish(Ask.DEMANDED, _number(local, word))


def _number(text: str, word: str) -> int:
    number = int(text)
    if not 1 <= number <= 65535:
        raise ConfigError(f"{word!r}: a port is a number from 1 to 65535, not {text}")
    return number
