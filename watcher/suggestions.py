"""Finds what a user meant by a misspelt name: the end of an error message, `; did you mean "web"?`, or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

# Comparing costs some microseconds each; nobody mistypes a word that is longer.
_MOST, _LONGEST = 1000, 100


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "X"?` for the most similar of `known`, whatever its case; "" where none is similar."""
    import difflib  # noqa: PLC0415 - only mistakes need it

    if len(word) > _LONGEST:
        return ""
    names = {name.lower(): name for name in islice(known, _MOST) if len(name) <= _LONGEST}
    near = difflib.get_close_matches(word.lower(), names, n=1)
    return f'; did you mean "{names[near[0]]}"?' if near else ""
