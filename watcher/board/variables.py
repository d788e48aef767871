"""Names forwards in environment variables, for --env-file and --exec: WEB_8080_URL, WEB_8080_HOST, WEB_8080_PORT.

Behind a gateway WEB_URL too, for the forward that a bare name means. A name stays with the forward that has it as long
as that is wanted. Values need no quotes in any shell: an address, a port, a URL of both.

A variable that the user has is never given another value, and names that steer common programs are never made.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import count

from msgspec import Struct

from watcher.board.records import ForwardRecord

logger = logging.getLogger("portside.board")

_OTHER = re.compile(r"[^A-Z0-9_]")
# A cluster's names must not reach into the settings of programs that the user starts: where packages come from, which
# API server or cloud is meant. No program reads a name with a port's number in it, or a full name.
_STEERING = re.compile(r"(AWS|AZURE|CARGO|DOCKER|GIT|GOOGLE|KUBERNETES|NPM|PIP|PORTSIDE|SKAFFOLD|UV|YARN)_.*")
_NUMBERED = re.compile(r".*_\d+_(URL|HOST|PORT)")


class _Subject(Struct, frozen=True, order=True):
    """What a forward forwards to, whatever its local addresses; `context` is "" for the default one.

    Of those that come together the first in this order gets a name that several would have.
    """

    no_service: bool
    namespace: str
    resource_type: str
    name: str
    container: str
    port: str
    context: str

    @property
    def short(self) -> str:
        return _identifier(self.name, self.port)

    @property
    def full(self) -> str:
        context = (self.context,) if self.context else ()
        return _identifier(*context, self.namespace, self.resource_type, self.name, self.port)


class Variables:
    """Which forward has which name: always its full one (DEFAULT_SERVICE_WEB_8080), the short one if it is free.

    `taken`: the names of variables that the user has. `context`: the default kube-context; the full names of forwards
    in another one begin with it.
    """

    def __init__(self, taken: Collection[str] = (), context: str = "") -> None:
        self._taken = frozenset(taken)
        self._context = context
        self._holders: dict[str, _Subject] = {}
        self._warned: set[str] = set()

    def of(self, forwards: Iterable[ForwardRecord]) -> dict[str, str]:
        """The variables of all that have a local port, sorted. Call it with all that are wanted, at every change."""
        wanted = _by_subject(forwards, self._context)
        self._holders = {name: subject for name, subject in self._holders.items() if subject in wanted}
        for subject in sorted(wanted):
            next(name for name in _spellings(subject.full) if self._holders.setdefault(name, subject) == subject)
        for subject in sorted(wanted):
            self._holders.setdefault(subject.short, subject)
        values = {subject: record for subject, records in wanted.items() if (record := _first_bound(records))}
        named = _by_names(values.values())
        held = ((name, values[subject]) for name, subject in self._holders.items() if subject in values)
        made = named | dict(variable for one in held for variable in _values(*one))
        full = tuple(f"{subject.full}_" for subject in values)
        return {name: value for name, value in sorted(made.items()) if self._may_be_set(name, value, full)}

    def _may_be_set(self, name: str, value: str, full: tuple[str, ...]) -> bool:
        reason = ""
        if name in self._taken:
            reason = "your environment has it already"
        elif _STEERING.fullmatch(name) and not (_NUMBERED.fullmatch(name) or name.startswith(full)):
            reason = "other programs take their settings from such names"
        if reason and name not in self._warned:
            self._warned.add(name)
            logger.warning("the variable %s (%s) is left out: %s", name, value, reason)
        return not reason


def env_lines(variables: Mapping[str, str]) -> str:
    """NAME=VALUE, one a line: what `. FILE` in sh and `docker run --env-file` both read."""
    return "".join(f"{name}={value}\n" for name, value in variables.items())


def _by_subject(forwards: Iterable[ForwardRecord], default: str) -> dict[_Subject, list[ForwardRecord]]:
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
            "" if record.context == default else record.context,
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


def _by_names(records: Iterable[ForwardRecord]) -> dict[str, str]:
    """Of the bare names at the gateway, those that are spelled like no other (a-b and a_b are spelled alike)."""
    found: dict[str, set[str]] = {}
    for record in records:
        if record.gateway.startswith(f"http://{record.resource_name}.") and record.gateway.count(".") == 1:
            found.setdefault(f"{_identifier(record.resource_name)}_URL", set()).add(record.gateway)
    return {name: urls.pop() for name, urls in found.items() if len(urls) == 1}


def _identifier(*words: str) -> str:
    text = _OTHER.sub("_", "_".join(word for word in words if word).upper())
    return f"_{text}" if text[:1].isdigit() else text
