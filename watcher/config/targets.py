"""Parses the arguments of `portside forward`: kubectl's syntax, for several targets.

A word with "/" is a target. Digits, or a word with ":", are a port. Any other word is a pod's name, except right after
a target that has no port yet: there it is a port's name (`svc/web http`). A word made by `in_context` sets the
kube-context of the targets after it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from forwarders.spec import MAX_PORT, PortPolicy, PortRequest, port_number
from watcher.config.entries import Entry, kind_of, known_kinds, name_problem, port_request_for
from watcher.errors import ConfigError, shown

# The name of a service's port may be as long as a label, that of a container's port 15 characters (RFC 6335).
_PORT_NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
# As in docker's syntax and in a service's manifest.
_PROTOCOLS = {"tcp", "udp", "sctp"}
# No argument of a program can contain it.
_CONTEXT = "\0"


# Kind and name.
Target = tuple[str, str]


def in_context(context: str) -> str:
    """The word that represents `--context CONTEXT` among the arguments."""
    return _CONTEXT + context


def context_of(word: str) -> str:
    """The context of a word made by `in_context`; "" for any other word."""
    return word.removeprefix(_CONTEXT) if word.startswith(_CONTEXT) else ""


def parse_targets(words: Sequence[str], *, namespace: str, addresses: tuple[str, ...]) -> tuple[Entry, ...]:
    """Parse TYPE/NAME and ports: one entry for each different port. Raises ConfigError naming the word."""
    entries: dict[tuple[object, ...], Entry] = {}
    target: Target | None = None
    without_port: Target | None = None  # the target, until its first port
    context, unused = "", ""
    for word in words:
        if word.startswith(_CONTEXT):
            _check_complete(without_port, unused)
            target = without_port = None
            context = unused = word.removeprefix(_CONTEXT)
            continue
        _check_protocol(word)
        if "/" in word or not (_looks_like_port(word) or without_port):
            _check_complete(without_port, "")
            target = without_port = parse_target(word)
            unused = ""
            continue
        if target is None:
            raise ConfigError(f"{word!r} is a port, but no target stands before it: portside forward TYPE/NAME {word}")
        port, port_request = _port(word)
        without_port, (kind, name) = None, target
        entry = Entry(
            source="direct",
            origin=f"argument {word!r}",
            kind=kind,
            resource_type=kind,
            name=name,
            namespace=namespace,
            port=port,
            local_port=port_request,
            addresses=addresses,
            context=context,
        )
        entries.setdefault((context, target, port, port_request), entry)
    _check_complete(without_port, unused)
    return tuple(entries.values())


def remote_port(text: str, word: str) -> int | str:
    """Parse the port's number or name in `text`, which is a part of `word`. Raises ConfigError."""
    port = _number(text, word) if text.isdigit() else text
    if isinstance(port, str) and not re.fullmatch(_PORT_NAME, port):
        raise ConfigError(f"{word!r}: {port!r} is neither a number nor a port's name")
    return port


def _looks_like_port(word: str) -> bool:
    return ":" in word or word.isdigit()


def _check_protocol(word: str) -> None:
    port, slash, protocol = word.rpartition("/")
    if slash and protocol.lower() in _PROTOCOLS and _looks_like_port(port):
        raise ConfigError(f"{word!r}: a port is written without a protocol, and only TCP is forwarded: {port}")


def _check_complete(without_port: Target | None, unused: str) -> None:
    """Raises ConfigError if a target has no port, or no target has followed the context `unused`."""
    if without_port is not None:
        given = "/".join(without_port)
        raise ConfigError(f"{given} has no port: portside forward {given} [LOCAL:]PORT")
    if unused:
        raise ConfigError(f"no target follows --context {unused}, which applies to the targets after it")


def parse_target(word: str) -> Target:
    """Parse `TYPE/NAME`, or a bare pod's name, into kind and name. Raises ConfigError."""
    resource_type, slash, name = word.rpartition("/")
    if not slash:
        resource_type = "pod"
    kind = kind_of(resource_type)
    if kind is None:
        raise ConfigError(
            f"{word!r}: {resource_type!r} is no type that can be forwarded to; known: {known_kinds(resource_type)}"
        )
    before, colon, port = name.rpartition(":")
    if colon:
        raise ConfigError(f"{word!r}: the target and its port are two words: {resource_type}/{before} {port}")
    if problem := name_problem(name, ""):
        raise ConfigError(f"{word!r}: expected TYPE/NAME or a pod's name; {problem}")
    return kind, name


def _port(word: str) -> tuple[int | str, PortRequest]:
    local, colon, remote = word.rpartition(":")
    if not remote or ":" in local:
        raise ConfigError(f"{word!r}: expected [LOCAL:]REMOTE, LOCAL a number, REMOTE a number or a port's name")
    port = remote_port(remote, word)
    if not colon:
        return port, port_request_for(port)
    if not local.strip("0"):
        return port, PortRequest(PortPolicy.SYSTEM)
    if not local.isdigit():
        raise ConfigError(f"{word!r}: the local port {local!r} is not a number")
    return port, PortRequest(PortPolicy.DEMANDED, _number(local, word))


def _number(text: str, word: str) -> int:
    number = port_number(text)
    if number is None:
        raise ConfigError(f"{shown(word)}: a port is a number from 1 to {MAX_PORT}, not {text}")
    return number
