"""Says what an unquoted YAML scalar means to Skaffold's YAML library (gopkg.in/yaml.v3, resolve.go)."""

from __future__ import annotations

import datetime
import re

_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_INTEGER = re.compile(r"[-+]?(0x[0-9a-f]+|0b[01]+|0o?[0-7]+|0|[1-9][0-9]*)", re.IGNORECASE)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)(e[-+]?[0-9]+)?", re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?")
# Longer ones are no number that a configuration can mean, and take Python long.
_MAX_DIGITS = 64
_BASES = {"0x": 16, "0b": 2, "0o": 8}


def plain_scalar(text: str) -> str | int | float | bool | None:
    """The value; a whole number is an int, however it is written, since Skaffold writes it out again as one."""
    if text in _WORDS:
        return _WORDS[text]
    number = text.replace("_", "")
    if len(number) > _MAX_DIGITS or not number:
        return text
    if text[0] != "_" and _INTEGER.fullmatch(number):
        return _integer(number)
    if _FLOAT.fullmatch(number) and text[0] != "_":
        found = float(number)
        return int(found) if found.is_integer() and abs(found) < 1e21 else found
    return f"{text}T00:00:00Z" if _is_date(text) else text


def _integer(number: str) -> int:
    sign = -1 if number[0] == "-" else 1
    digits = number.lstrip("+-").lower()
    if digits[:2] in _BASES:
        return sign * int(digits[2:], _BASES[digits[:2]])
    return sign * int(digits, 8 if digits[0] == "0" and digits != "0" else 10)


def _is_date(text: str) -> bool:
    """Skaffold writes a date out again as the moment at which it begins."""
    if not _DATE.fullmatch(text):
        return False
    try:
        datetime.date(*map(int, text.split("-")))
    except ValueError:
        return False
    return len(text) == len("2001-01-01")
