"""Owns label selectors (apimachinery, metav1.LabelSelector): which labels match, and how to write one for people. Pure.

Services and replication controllers have only the equality part: a plain mapping.
"""

from __future__ import annotations

from collections.abc import Mapping

from watcher.cluster.objects import LabelSelector, Requirement

_OPERATORS = {"In": "in", "NotIn": "notin"}


def selector_of(labels: Mapping[str, str] | None) -> LabelSelector:
    return LabelSelector(match_labels=dict(labels or {}))


def is_empty(selector: LabelSelector | None) -> bool:
    return selector is None or not (selector.match_labels or selector.match_expressions)


def matches(selector: LabelSelector | None, labels: Mapping[str, str]) -> bool:
    """Whether a pod with `labels` is selected. An empty selector selects nothing: no controller's may be empty."""
    if selector is None or is_empty(selector):
        return False
    return (selector.match_labels or {}).items() <= labels.items() and all(
        _meets(requirement, labels) for requirement in selector.match_expressions or ()
    )


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
