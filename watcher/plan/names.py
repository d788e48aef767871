"""Owns the names by which the gateway leads to forwards: [PORT.]SERVICE[.NAMESPACE].

Refuses to guess: a name that may mean several forwards means all of them, and whoever asks has to choose. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from msgspec import Struct

from watcher.plan.verdicts import Wanted

# Istio's and Kubernetes' own way to say what a port speaks: its name, or appProtocol.
_HTTP = re.compile(r"(http|web)(-.*)?")


class Named(Struct, frozen=True):
    """One forward that has names. `ports`: the spellings of its port, the number first where there is one."""

    id: str
    kind: str
    name: str
    namespace: str
    ports: tuple[str, ...]
    http: bool


def named(forwards: Iterable[Wanted]) -> tuple[Named, ...]:
    """Each target once, at the first of its addresses; none for what has a dot in its name, which would part labels."""
    found: dict[tuple[str, ...], Named] = {}
    for wanted in forwards:
        subject = wanted.subject
        ports = tuple(sorted((str(port).lower() for port in wanted.called), key=lambda port: not port.isdigit()))
        key = (subject.resource_type.lower(), subject.resource_name, subject.namespace, subject.container, *ports)
        if "." not in subject.resource_name:
            http = any(_HTTP.fullmatch(port) for port in ports)
            found.setdefault(key, Named(wanted.id, key[0], subject.resource_name, subject.namespace, ports, http))
    return tuple(found.values())


def resolve(name: str, known: Iterable[Named]) -> tuple[Named, ...]:
    """What `name` (labels, without .localhost) may mean, in the plan's order; services before anything else."""
    labels = tuple(name.split("."))
    readings = set(_readings(labels))
    meant = [one for one in known if _is_meant(one, readings)]
    services = [one for one in meant if one.kind == "service"]
    return _preferred(services or meant, named_port=(not any(port is None for port, _, _ in readings)))


def shortest(one: Named, known: Iterable[Named]) -> str:
    """The shortest name that means this forward alone."""
    everything = tuple(known)
    last = f"{one.ports[0]}.{one.name}.{one.namespace}"
    names = (one.name, f"{one.name}.{one.namespace}", f"{one.ports[0]}.{one.name}", last)
    return next((name for name in names if resolve(name, everything) == (one,)), last)


_Reading = tuple[str | None, str, str | None]


def _readings(labels: tuple[str, ...]) -> Iterator[_Reading]:
    """(port, name, namespace), None for any."""
    match labels:
        case (name,):
            yield None, name, None
        case (first, second):
            yield None, first, second
            yield first, second, None
        case (port, name, namespace):
            yield port, name, namespace


def _is_meant(one: Named, readings: set[_Reading]) -> bool:
    return any(
        name == one.name and namespace in {None, one.namespace} and (port is None or port in one.ports)
        for port, name, namespace in readings
    )


def _preferred(meant: list[Named], *, named_port: bool) -> tuple[Named, ...]:
    """Of one thing's ports the one that speaks HTTP, where no port was named and just one says that it does."""
    things = {(one.kind, one.name, one.namespace) for one in meant}
    speaking = [one for one in meant if one.http]
    if len(things) == 1 and len(meant) > 1 and len(speaking) == 1 and not named_port:
        return tuple(speaking)
    return tuple(meant)
