"""Parses the arguments of `portside forward`: kubectl's syntax, for several targets.

A word with "/" is a target. Digits, or a word with ":", are a port. Any other word is a pod's name, except right after
a target that has no port yet: there it is a port's name (`svc/web http`). A word made by `in_context` sets the
kube-context of the targets after it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

from forwarders.spec import PortPolicy, PortRequest
from watcher.config.entries import MAX_PORT, Entry, kind_of, known_kinds, name_problem, port_number, port_request_for
from watcher.errors import ConfigError

# The name of a service's port may be as long as a label, that of a container's port 15 characters (RFC 6335).
_PORT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# As in docker's syntax and in a service's manifest.
_PROTOCOLS = {"tcp", "udp", "sctp"}
# No argument of a program can contain it.
_CONTEXT = "\0"


class _NamedTarget(Struct, frozen=True):
    kind: str
    name: str


def in_context(context: str) -> str:
    """The word that represents `--context CONTEXT` among the arguments."""
    return _CONTEXT + context


def context_of(word: str) -> str:
    """The context of a word made by `in_context`; "" for any other word."""
    return word.removeprefix(_CONTEXT) if word.startswith(_CONTEXT) else ""


def parse_targets(words: Sequence[str], *, namespace: str, addresses: tuple[str, ...]) -> tuple[Entry, ...]:
    """One entry for each port; a port that is given twice counts once. Raises ConfigError naming the word."""
    entries: dict[tuple[object, ...], Entry] = {}
    target: _NamedTarget | None = None
    needs_port = False
    context, unused = "", ""
    for word in words:
        if word.startswith(_CONTEXT):
            _check_has_port(target, needs_port=needs_port)
            _check_used(unused)
            target, needs_port, context = None, False, word.removeprefix(_CONTEXT)
            unused = context
            continue
        _check_protocol(word)
        if "/" in word or not (_looks_like_port(word) or needs_port):
            _check_has_port(target, needs_port=needs_port)
            target, needs_port, unused = _target(word), True, ""
            continue
        if target is None:
            raise ConfigError(f"{word!r} is a port, but no target stands before it: portside forward TYPE/NAME {word}")
        port, port_request = _port(word)
        needs_port = False
        entry = Entry(
            source="direct",
            origin=f"argument {word!r}",
            kind=target.kind,
            resource_type=target.kind,
            name=target.name,
            namespace=namespace,
            port=port,
            local_port=port_request,
            addresses=addresses,
            context=context,
        )
        entries.setdefault((context, target, port, port_request), entry)
    _check_has_port(target, needs_port=needs_port)
    _check_used(unused)
    return tuple(entries.values())


def parse_target(word: str) -> tuple[str, str]:
    """The kind and name of `TYPE/NAME`, or of a bare pod's name. Raises ConfigError."""
    target = _target(word)
    return target.kind, target.name


def remote_port(text: str, word: str) -> int | str:
    """The port's number or name in `text`, which is a part of `word`. Raises ConfigError."""
    port = _number(text, word) if text.isdigit() else text
    if isinstance(port, str) and not _PORT_NAME.fullmatch(port):
        raise ConfigError(f"{word!r}: {port!r} is neither a number nor a port's name")
    return port


def _looks_like_port(word: str) -> bool:
    return ":" in word or word.isdigit()


def _check_protocol(word: str) -> None:
    port, slash, protocol = word.rpartition("/")
    if slash and protocol.lower() in _PROTOCOLS and _looks_like_port(port):
        raise ConfigError(f"{word!r}: a port is written without a protocol, and only TCP is forwarded: {port}")


def _check_has_port(target: _NamedTarget | None, *, needs_port: bool) -> None:
    if target is not None and needs_port:
        given = f"{target.kind}/{target.name}"
        raise ConfigError(f"{given} has no port: portside forward {given} [LOCAL:]PORT")


def _check_used(context: str) -> None:
    """`context`: the last one, if no target has followed it."""
    if context:
        raise ConfigError(f"--context {context} holds for the targets after it, and there is none")


def _target(word: str) -> _NamedTarget:
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
    return _NamedTarget(kind, name)


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
        raise ConfigError(f"{word!r}: a port is a number from 1 to {MAX_PORT}, not {text}")
    return number
