"""Owns the names by which the gateway leads to forwards: [PORT.]SERVICE[.NAMESPACE[.CONTEXT]].

Refuses to guess: a name that may mean several forwards means all of them, and whoever asks has to choose. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from watcher.plan.verdicts import PlannedForward

# Istio's and Kubernetes' way to say what a port speaks is its name.
_HTTP = re.compile(r"(http|web)(-.*)?")
# What may stand between the dots of a host's name; Docker's names have underscores.
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


class HostEntry(Struct, frozen=True):
    """One forward that has names. `ports`: the spellings of its port, the number first where there is one.

    `cluster`: as for PodRef.
    """

    id: str
    kind: str
    name: str
    namespace: str
    ports: tuple[str, ...]
    http: bool
    cluster: str = ""

    @property
    def context(self) -> str:
        """Its context as the end of a name; "" for the default one, and for one that no host's name can end with."""
        label = self.cluster.lower()
        return label if _LABEL.fullmatch(label) else ""


# By what each is called.
Known = Mapping[str, Sequence[HostEntry]]


def named(forwards: Iterable[PlannedForward]) -> tuple[HostEntry, ...]:
    """Each target once, at the first of its addresses; none whose name is no label of a host's name."""
    found: dict[tuple[str, ...], HostEntry] = {}
    for wanted in forwards:
        subject = wanted.subject
        kind, name, namespace = subject.resource_type.lower(), subject.resource_name.lower(), subject.namespace
        if not (_LABEL.fullmatch(name) and _LABEL.fullmatch(namespace or name)):
            continue
        called = (str(port).lower() for port in wanted.called or (subject.remote_port,))
        ports = tuple(sorted(filter(_LABEL.fullmatch, called), key=lambda port: not port.isdigit()))
        http = any(_HTTP.fullmatch(port) for port in ports)
        key = (wanted.cluster, kind, name, namespace, subject.container, *ports)
        found.setdefault(key, HostEntry(wanted.id, kind, name, namespace, ports, http, wanted.cluster))
    return tuple(found.values())


def by_name(known: Iterable[HostEntry]) -> Known:
    """For `resolve` and `shortest`."""
    found: dict[str, list[HostEntry]] = {}
    for one in known:
        found.setdefault(one.name, []).append(one)
    return found


def resolve(name: str, known: Known) -> tuple[HostEntry, ...]:
    """What `name` (labels, without .localhost) may mean; services before all else, then the default cluster's."""
    readings = tuple(_readings(tuple(name.split("."))))
    candidates = (one for called in dict.fromkeys(name for _, name, *_ in readings) for one in known.get(called, ()))
    meant = [one for one in candidates if _is_meant(one, readings)]
    services = [one for one in meant if one.kind == "service"]
    by_port = all(port is not None for port, _, _, context in readings if context is None)
    return _preferred(_at_home(services or meant), named_port=by_port)


def shortest(one: HostEntry, known: Known) -> str:
    """The shortest name that means this forward alone; "" where none does."""
    names = [one.name, f"{one.name}.{one.namespace}", *(f"{port}.{one.name}" for port in one.ports[:1])]
    names += [f"{port}.{one.name}.{one.namespace}" for port in one.ports[:1]]
    if one.context:
        whole = f"{one.name}.{one.namespace}.{one.context}"
        names += [whole, *(f"{port}.{whole}" for port in one.ports[:1])]
    return next((name for name in names if not name.endswith(".") and resolve(name, known) == (one,)), "")


_Reading = tuple[str | None, str, str | None, str | None]


def _readings(labels: tuple[str, ...]) -> Iterator[_Reading]:
    """(port, name, namespace, context), None for any."""
    match labels:
        case (name,):
            yield None, name, None, None
        case (first, second):
            yield None, first, second, None
            yield first, second, None, None
        case (first, second, third):
            yield None, first, second, third
            yield first, second, third, None
        case (port, name, namespace, context):
            yield port, name, namespace, context


def _is_meant(one: HostEntry, readings: Iterable[_Reading]) -> bool:
    return any(
        name == one.name
        and namespace in {None, one.namespace}
        and (port is None or port in one.ports)
        and (context is None or context == one.context != "")
        for port, name, namespace, context in readings
    )


def _at_home(meant: list[HostEntry]) -> list[HostEntry]:
    """Of several clusters the default one: the others' forwards have names that end with their context."""
    return [one for one in meant if not one.cluster] or meant


def _preferred(meant: list[HostEntry], *, named_port: bool) -> tuple[HostEntry, ...]:
    """Of one thing's ports the one that speaks HTTP, where no port was named and just one says that it does."""
    things = {(one.cluster, one.kind, one.name, one.namespace) for one in meant}
    speaking = [one for one in meant if one.http]
    if len(things) == 1 and len(meant) > 1 and len(speaking) == 1 and not named_port:
        return tuple(speaking)
    return tuple(meant)
