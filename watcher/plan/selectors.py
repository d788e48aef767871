"""Owns label selectors (apimachinery, metav1.LabelSelector): which labels match, and how to write one for people. Pure.

Services and replication controllers have only the equality part: a plain mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from watcher.cluster.kinds import LabelSelector, Requirement, Resource
from watcher.cluster.store import Key, labelled

R = TypeVar("R", bound=Resource)

_OPERATORS = {"In": "in", "NotIn": "notin"}


def selector_of(labels: Mapping[str, str] | None) -> LabelSelector:
    return LabelSelector(match_labels=dict(labels or {}))


def is_empty(selector: LabelSelector | None) -> bool:
    return selector is None or not (selector.match_labels or selector.match_expressions)


def selected(selector: LabelSelector | None, objects: Mapping[Key, R]) -> list[R]:
    """Those with such labels. An empty selector selects nothing: no controller's may be empty."""
    if selector is None or is_empty(selector):
        return []
    found = labelled(objects, selector.match_labels or {})
    requirements = selector.match_expressions or ()
    return [item for item in found if all(_meets(one, item.metadata.labels or {}) for one in requirements)]


def text(selector: LabelSelector | None) -> str:
    """As kubectl's -l takes it."""
    if selector is None or is_empty(selector):
        return "no selector"
    equal = (f"{key}={value}" for key, value in sorted((selector.match_labels or {}).items()))
    return ",".join([*equal, *map(_text, selector.match_expressions or ())])


def _text(requirement: Requirement) -> str:
    match requirement.operator:
        case "Exists":
            return requirement.key
        case "DoesNotExist":
            return f"!{requirement.key}"
        case operator:
            return f"{requirement.key} {_OPERATORS.get(operator, operator)} ({','.join(requirement.values or ())})"


def _meets(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(requirement.key), requirement.values or ()
    match requirement.operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            return False
