"""Owns what a check says: a level, what was found, what to do about it.

Refuses to print, and to know what is checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from watcher.errors import WatcherError

# From what is as it should be to what keeps portside from working.
Level = Literal["ok", "note", "warning", "error"]


class Finding(Struct, frozen=True, kw_only=True, tag_field="kind", tag="finding"):
    """One finding; also a line of JSON. `check` is filled in by whoever runs the check. `remedy` "": nothing to do."""

    check: str = ""
    level: Level
    found: str
    remedy: str = ""


class NotCheckedError(WatcherError):
    """Something that another check speaks of keeps this one from being made; the message says what."""


def ok(found: str) -> Finding:
    return Finding(level="ok", found=found)


def note(found: str, remedy: str = "") -> Finding:
    return Finding(level="note", found=found, remedy=remedy)


def warning(found: str, remedy: str) -> Finding:
    return Finding(level="warning", found=found, remedy=remedy)


def error(found: str, remedy: str) -> Finding:
    return Finding(level="error", found=found, remedy=remedy)


def failed(findings: Iterable[Finding]) -> bool:
    """Whether the worst of them is an error."""
    return any(finding.level == "error" for finding in findings)
