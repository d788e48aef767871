"""Owns the environment variables that name forwards, for --env-file and --exec: WEB_8080_URL, _HOST and _PORT.

Behind a gateway WEB_URL too, for what a bare name leads to.

Refuses to rename. A name stays with the forward that has it as long as that is wanted, whatever else comes; values
need no quotes in any shell: an address, a port, a URL of both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import count

from msgspec import Struct

from watcher.board.records import ForwardRecord

_OTHER = re.compile(r"[^A-Z0-9_]")


class _Subject(Struct, frozen=True, order=True):
    """What a forward leads to, whatever its local addresses.

    Of those that come together the first in this order gets a name that several would have.
    """

    no_service: bool
    namespace: str
    resource_type: str
    name: str
    container: str
    port: str

    @property
    def short(self) -> str:
        return _identifier(self.name, self.port)

    @property
    def full(self) -> str:
        return _identifier(self.namespace, self.resource_type, self.name, self.port)


class Variables:
    """Who has which name. Each forward has its full name (DEFAULT_SERVICE_WEB_8080); the short one if it is free."""

    def __init__(self) -> None:
        self._holders: dict[str, _Subject] = {}

    def of(self, forwards: Iterable[ForwardRecord]) -> dict[str, str]:
        """The variables of all that have a local port, sorted. Call it with all that are wanted, at every change."""
        wanted = _by_subject(forwards)
        self._holders = {name: subject for name, subject in self._holders.items() if subject in wanted}
        for subject in sorted(wanted):
            next(name for name in _spellings(subject.full) if self._holders.setdefault(name, subject) == subject)
        for subject in sorted(wanted):
            self._holders.setdefault(subject.short, subject)
        values = {subject: record for subject, records in wanted.items() if (record := _first_bound(records))}
        named = dict(variable for record in values.values() for variable in _by_name(record))
        held = ((name, values[subject]) for name, subject in self._holders.items() if subject in values)
        return dict(sorted((named | dict(variable for one in held for variable in _values(*one))).items()))


def env_lines(variables: Mapping[str, str]) -> str:
    """NAME=VALUE, one a line: what `. FILE` in sh and `docker run --env-file` both read."""
    return "".join(f"{name}={value}\n" for name, value in variables.items())


def _by_subject(forwards: Iterable[ForwardRecord]) -> dict[_Subject, list[ForwardRecord]]:
    wanted: dict[_Subject, list[ForwardRecord]] = {}
    for record in forwards:
        resource_type = record.resource_type.lower()
        subject = _Subject(
            resource_type != "service",
            record.namespace,
            resource_type,
            record.resource_name,
            record.container,
            str(record.remote_port),
        )
        wanted.setdefault(subject, []).append(record)
    return wanted


def _first_bound(records: list[ForwardRecord]) -> ForwardRecord | None:
    """Of several local addresses 127.0.0.1, else the first in their order."""
    bound = [record for record in records if record.url]
    return min(bound, key=lambda r: (r.local_address != "127.0.0.1", r.local_address, r.id), default=None)


def _spellings(name: str) -> Iterator[str]:
    """Full names differ but for the oddest of names (a-b, a.b): those are numbered."""
    yield name
    for number in count(2):
        yield f"{name}_{number}"


def _values(name: str, record: ForwardRecord) -> Iterator[tuple[str, str]]:
    yield f"{name}_HOST", record.local_address
    yield f"{name}_PORT", str(record.local_port)
    yield f"{name}_URL", record.url


def _by_name(record: ForwardRecord) -> Iterator[tuple[str, str]]:
    """The gateway gives a bare name to one forward alone."""
    if record.gateway.startswith(f"http://{record.resource_name}.") and record.gateway.count(".") == 1:
        yield f"{_identifier(record.resource_name)}_URL", record.gateway


def _identifier(*words: str) -> str:
    text = _OTHER.sub("_", "_".join(word for word in words if word).upper())
    return f"_{text}" if text[:1].isdigit() else text
