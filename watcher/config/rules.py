"""Owns the include and exclude rules of portside.yaml: what each matches. Pure.

Refuses to know where the things come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from msgspec import Struct


class RuleTarget(Struct, frozen=True):
    """What a rule is asked about. `kind` is the singular; `ports`: the spellings of its one port, number and name."""

    kind: str
    name: str
    namespace: str
    labels: Mapping[str, str]
    ports: tuple[int | str, ...]


class Rule(Struct, frozen=True, kw_only=True):
    """Matches a thing that has everything named here. `name` and `namespace` may be shell globs; "" and None: any.

    `origin`: file and line, for messages.
    """

    origin: str
    kind: str = ""
    name: str = ""
    namespace: str = ""
    labels: Mapping[str, str] = {}
    port: int | str | None = None

    def matches(self, thing: RuleTarget) -> bool:
        return (
            self.kind in {"", thing.kind}
            and fnmatchcase(thing.name, self.name or "*")
            and fnmatchcase(thing.namespace, self.namespace or "*")
            and self.labels.items() <= thing.labels.items()
            and (self.port is None or self.port in thing.ports)
        )


class Rules(Struct, frozen=True):
    """Exclude wins. A non-empty include admits only what one of its rules matches."""

    include: tuple[Rule, ...] = ()
    exclude: tuple[Rule, ...] = ()

    def excluded(self, thing: RuleTarget) -> str:
        """Why the thing is not to be forwarded, or ""."""
        rule = _first(self.exclude, thing)
        return "" if rule is None else f"{rule.origin} excludes it"

    def refused(self, thing: RuleTarget) -> str:
        """The same for what only a mode selected: it has to be included, too."""
        if not self.include or _first(self.include, thing) is not None:
            return self.excluded(thing)
        file = self.include[0].origin.partition(" ")[0]
        return self.excluded(thing) or f"{file} does not include it"


def _first(rules: Iterable[Rule], thing: RuleTarget) -> Rule | None:
    return next((rule for rule in rules if rule.matches(thing)), None)
