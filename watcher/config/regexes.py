"""Compares as Skaffold does where a profile's condition is judged (pkg/skaffold/util/regex.go)."""

from __future__ import annotations

import re

# What Python's regular expressions have and Go's refuse: look-around, atomic groups, conditions, references back.
_PYTHON_ONLY = re.compile(r"(?<!\\)(\\\\)*(\(\?(=|!|<=|<!|>|\(|#|P=)|\\[1-9]|[*+?}]\+)")


def regex_equal(expected: str, actual: str) -> bool:
    """Equal, or found as a regular expression; a leading ! turns it around. What is no expression is only a text."""
    pattern = expected.removeprefix("!")
    return _matches(pattern, actual) != expected.startswith("!")


def _matches(pattern: str, actual: str) -> bool:
    if pattern == actual:
        return True
    if _PYTHON_ONLY.search(pattern):
        return False
    try:
        return re.search(pattern, actual) is not None
    except (re.error, OverflowError, RecursionError):
        return False
