"""Names of forwards at the gateway: [PORT.]SERVICE[.NAMESPACE[.CONTEXT]], and what each name means.

A name that fits several forwards resolves to all of them; the gateway's page then lets the user choose. The listener
and HTTP are in `forwarders/gateway`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from forwarders.gateway.gateway import SUFFIX, GatewayTarget
from watcher.plan.verdicts import PlannedForward

# By the convention of Kubernetes and Istio a port's name begins with its protocol.
_HTTP = re.compile(r"(http|web)(-.*)?")
# One label of a host name. Underscores are no part of the standard, but Docker's names have them.
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


class GatewayRequest(Struct, frozen=True):
    """The address to listen at, and the suffixes of names (`localhost` among them). `origin`: the option or file."""

    address: str
    port: int
    suffixes: tuple[str, ...] = (SUFFIX,)
    origin: str = ""


class HostEntry(Struct, frozen=True):
    """One forward that has a name. `ports`: the spellings of its port, the number first if there is one.

    `cluster`: as in PodRef.
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
        """The context as the last label of names; "" for the default one, and for one that is no valid label."""
        label = self.cluster.lower()
        return label if _LABEL.fullmatch(label) else ""


# The entries by their resource's name.
Hosts = Mapping[str, Sequence[HostEntry]]


class GatewayNames:
    """The names of the current plan's forwards, for a gateway that listens at `request`."""

    def __init__(self, request: GatewayRequest) -> None:
        self._request = request
        self._entries: tuple[HostEntry, ...] = ()
        self._hosts: Hosts = {}
        self._urls: dict[str, str] = {}

    def update(self, forwards: Iterable[PlannedForward]) -> set[str]:
        """Takes the forwards of a new plan. Returns the ids of those whose URL has changed."""
        entries = host_entries(forwards)
        if entries == self._entries:
            return set()
        before = self._urls
        self._entries, self._hosts = entries, by_name(entries)
        self._urls = {entry.id: url for entry in entries if (url := self._url(entry))}
        return {ident for ident in before.keys() | self._urls.keys() if before.get(ident) != self._urls.get(ident)}

    def url(self, ident: str) -> str:
        """The URL of a forward at the gateway, "" if it has no name."""
        return self._urls.get(ident, "")

    def meant(self, name: str) -> Sequence[GatewayTarget]:
        """The gateway targets that a host name may mean."""
        return [self._target(entry) for entry in resolve_host(name, self._hosts)]

    def all(self) -> Sequence[GatewayTarget]:
        """Every forward that has a name at the gateway."""
        return [self._target(entry) for entry in self._entries]

    def _url(self, entry: HostEntry) -> str:
        name = shortest_name(entry, self._hosts)
        return f"http://{name}.{self._request.suffixes[0]}:{self._request.port}" if name else ""

    def _target(self, entry: HostEntry) -> GatewayTarget:
        url = self.url(entry.id)
        port = f"port {entry.ports[0]} of " if entry.ports else ""
        where = f" in namespace {entry.namespace}" if entry.namespace else ""
        words = f"{port}{entry.kind} {entry.name}{where}"
        return GatewayTarget(entry.id, url, f"{url}: {words}" if url else f"{words}, which has no name of its own")


def host_entries(forwards: Iterable[PlannedForward]) -> tuple[HostEntry, ...]:
    """One entry for each target, at the first of its addresses; none if its name is no valid label."""
    found: dict[tuple[str, ...], HostEntry] = {}
    for planned in forwards:
        subject = planned.subject
        kind, name, namespace = subject.resource_type.lower(), subject.resource_name.lower(), subject.namespace
        if not (_LABEL.fullmatch(name) and _LABEL.fullmatch(namespace or name)):
            continue
        called = (str(port).lower() for port in planned.called or (subject.remote_port,))
        ports = tuple(sorted(filter(_LABEL.fullmatch, called), key=lambda port: not port.isdigit()))
        http = any(_HTTP.fullmatch(port) for port in ports)
        key = (planned.cluster, kind, name, namespace, subject.container, *ports)
        found.setdefault(key, HostEntry(planned.id, kind, name, namespace, ports, http, planned.cluster))
    return tuple(found.values())


def by_name(entries: Iterable[HostEntry]) -> Hosts:
    """The entries grouped for `resolve_host` and `shortest_name`."""
    found: dict[str, list[HostEntry]] = {}
    for entry in entries:
        found.setdefault(entry.name, []).append(entry)
    return found


def resolve_host(name: str, hosts: Hosts) -> tuple[HostEntry, ...]:
    """The entries that `name` (labels, without .localhost) may mean; services win, then the default cluster."""
    readings = tuple(_readings(name.split(".")))
    candidates = (
        entry for called in dict.fromkeys(name for _, name, *_ in readings) for entry in hosts.get(called, ())
    )
    meant = [entry for entry in candidates if _is_meant(entry, readings)]
    meant = [entry for entry in meant if entry.kind == "service"] or meant
    # Names for other clusters end with their context.
    meant = [entry for entry in meant if not entry.cluster] or meant
    speaking = [entry for entry in meant if entry.http]
    resources = {(entry.cluster, entry.kind, entry.name, entry.namespace) for entry in meant}
    with_port = all(port is not None for port, _, _, context in readings if context is None)
    # Of several ports of one resource the only one that speaks HTTP is meant, unless the name has a port.
    is_clear = len(resources) == len(speaking) == 1 and not with_port
    return tuple(speaking if is_clear else meant)


def shortest_name(entry: HostEntry, hosts: Hosts) -> str:
    """The shortest name that resolves to this entry alone; "" if there is none."""
    names = [entry.name, f"{entry.name}.{entry.namespace}", *(f"{port}.{entry.name}" for port in entry.ports[:1])]
    names += [f"{port}.{entry.name}.{entry.namespace}" for port in entry.ports[:1]]
    if entry.context:
        whole = f"{entry.name}.{entry.namespace}.{entry.context}"
        names += [whole, *(f"{port}.{whole}" for port in entry.ports[:1])]
    return next((name for name in names if not name.endswith(".") and resolve_host(name, hosts) == (entry,)), "")


# (port, name, namespace, context); None stands for any.
_Reading = tuple[str | None, str, str | None, str | None]


def _readings(labels: list[str]) -> Iterator[_Reading]:
    for port, resource in ((None, labels), (labels[0], labels[1:])):
        if 1 <= len(resource) <= 3:
            namespace, context = (*resource[1:], None, None)[:2]
            yield port, resource[0], namespace, context


def _is_meant(entry: HostEntry, readings: Iterable[_Reading]) -> bool:
    return any(
        name == entry.name
        and namespace in {None, entry.namespace}
        and (port is None or port in entry.ports)
        and (context is None or context == entry.context != "")
        for port, name, namespace, context in readings
    )
