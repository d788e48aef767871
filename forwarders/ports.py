"""Owns the choice of a local port: which ones are tried, in which order, and which are kept for others.

Refuses sockets. The order is Skaffold's (pkg/skaffold/util/port.go): the one asked for, the ten after it,
4503 to 4533, then the system's choice. Pure, so that equal questions get equal answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from forwarders.spec import ForwardSpec, PortPolicy, PortRequest

SUBSTITUTES = range(4503, 4534)
MAX_PORT = 65535


def candidates(port_request: PortRequest) -> Iterator[int]:
    """Ports to try in order; 0 is the system's choice."""
    if port_request.policy is PortPolicy.DEMANDED:
        yield port_request.number
        return
    if port_request.policy in {PortPolicy.EXPLICIT, PortPolicy.PREFERRED}:
        yield from range(port_request.number, min(port_request.number + 10, MAX_PORT) + 1)
    if port_request.policy is not PortPolicy.SYSTEM:
        yield from SUBSTITUTES
    yield 0


class PortBook:
    """Which ports are promised to whom, and what the forwards of one entry got so far."""

    def __init__(self) -> None:
        self._reserved: dict[int, set[str]] = {}
        self._groups: dict[str, int] = {}
        # What is known of the holders of ports that are taken, for messages; as of the plan that is carried out.
        self.holders: dict[int, str] = {}

    def reserve(self, specs: Iterable[ForwardSpec]) -> None:
        """A new plan: keep every explicitly asked port for those who asked, in place of what was reserved before."""
        self._reserved.clear()
        self.holders.clear()
        for spec in specs:
            if spec.port.reserved:
                self._reserved.setdefault(spec.port.number, set()).add(spec.group)

    def choices(self, spec: ForwardSpec) -> Iterator[int]:
        """Ports to try for this forward: its group's first, then the usual order without those kept for others."""
        sibling = None if spec.port.policy is PortPolicy.DEMANDED else self._groups.get(spec.group)
        if sibling is not None:
            yield sibling
        for port in candidates(spec.port):
            if port != sibling and spec.group in self._reserved.get(port, {spec.group}):
                yield port

    def holds(self, port: int) -> bool:
        """Whether one of our own forwards has it."""
        return port in self._groups.values()

    def took(self, spec: ForwardSpec, port: int) -> None:
        self._groups.setdefault(spec.group, port)

    def forget(self, group: str) -> None:
        """No forward of this group is left."""
        self._groups.pop(group, None)
