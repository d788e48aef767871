"""Owns the check of a label selector as the API takes it: `a=b,c!=d,e in (f,g),h,!i`. Refuses to match anything."""

from __future__ import annotations

import re

from watcher.errors import ConfigError

# apimachinery pkg/labels/selector.go and pkg/util/validation: a qualified name, and a value of up to 63 characters.
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_KEY = rf"(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_WORD}"
_VALUE = rf"(?:{_WORD})?"
_SET = rf"\(\s*{_VALUE}(?:\s*,\s*{_VALUE})*\s*\)"
_ONE = rf"(?:!\s*{_KEY}|{_KEY}(?:\s*(?:==|=|!=)\s*{_VALUE}|\s+(?:in|notin)\s+{_SET})?)"
_SELECTOR = re.compile(rf"\s*{_ONE}(?:\s*,\s*{_ONE})*\s*")


def checked_selector(text: str, where: str) -> str:
    """`text`, trimmed. Raises ConfigError where the API would refuse it."""
    if not _SELECTOR.fullmatch(text):
        raise ConfigError(
            f"{where}: {text!r} is no label selector; write key=value, key!=value, key in (a, b), key or !key"
        )
    return text.strip()
