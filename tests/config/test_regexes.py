"""Conditions are compared as Skaffold compares them, by Go's regular expressions."""

from __future__ import annotations

import pytest

from watcher.config.profiles import regex_equal


@pytest.mark.parametrize(
    ("expected", "actual", "equal"),
    [
        ("dev", "dev", True),
        ("dev|debug", "debug", True),
        ("ev", "dev", True),
        ("!dev", "dev", False),
        ("!dev", "run", True),
        ("(", "dev", False),
        ("!(", "dev", True),
        ("(", "(", True),
        ("(?=d)dev", "dev", False),
        ("(?<!x)dev", "dev", False),
        (r"(d)\1?ev", "dev", False),
        ("d++ev", "dev", False),
        (r"d\(?=", "d(=", True),
        ("(?i)DEV", "dev", True),
        ("", "dev", True),
    ],
)
def test_what_go_makes_of_it(expected: str, actual: str, *, equal: bool) -> None:
    """What Go does not take for an expression is only a text; a leading ! turns it around."""
    assert regex_equal(expected, actual) is equal
