"""Writes values as YAML in every style that people use: tabs, quotes, flow, CRLF, tags, anchors."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

# Text that needs no quotes.
_WORD = re.compile(r"[A-Za-z/][A-Za-z0-9/._-]*")
_WORDS_OF_YAML = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


class Raw(str):
    """A scalar written as it is: a number, a date, a tag."""


class Writer:
    """The style of one file. `shared`: values with anchors, under a `.shared` key at the top."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._separator = random.choice((": ", ": ", ":  ", ":\t"))
        self._end = random.choice(("\n", "\n", "\n", "\r\n"))
        self._anchors = 0

    def documents(self, values: list[dict[str, Any]]) -> str:
        text = "---\n".join(self._document(value) for value in values)
        comment = "# caf\u00e9: \u2713\n" if self._chance(4) else ""
        return (comment + text).replace("\n", self._end)

    def _document(self, value: dict[str, Any]) -> str:
        shared: list[str] = []
        value = self._with_anchors(value, shared)
        head = "".join(f".s{number}{self._separator}{text}\n" for number, text in enumerate(shared))
        return head + self._mapping(value, 0)

    def _with_anchors(self, value: Any, shared: list[str]) -> Any:
        """Some scalars and mappings become aliases of values at the top."""
        if isinstance(value, dict):
            value = {key: self._with_anchors(inner, shared) for key, inner in value.items()}
            return self._merged(value, shared) if value and self._chance(12) else value
        if isinstance(value, list):
            return [self._with_anchors(inner, shared) for inner in value]
        if isinstance(value, str) and self._chance(12):
            return Raw(f"*{self._anchor(self._scalar(value), shared)}")
        return value

    def _merged(self, value: dict[str, Any], shared: list[str]) -> dict[str, Any]:
        if any(isinstance(inner, dict | list) for inner in value.values()):
            return value
        key = self._random.choice(sorted(value))
        base = self._flow({key: value[key]})
        rest = {name: inner for name, inner in value.items() if name != key}
        return {"<<": Raw(f"*{self._anchor(base, shared)}"), **rest}

    def _anchor(self, text: str, shared: list[str]) -> str:
        self._anchors += 1
        shared.append(f"&a{self._anchors} {text}")
        return f"a{self._anchors}"

    def _mapping(self, value: dict[str, Any], indent: int) -> str:
        lines = []
        for key, inner in value.items():
            lines.append(" " * indent + key + self._value(inner, indent))
        return "".join(lines)

    def _value(self, value: Any, indent: int) -> str:
        if isinstance(value, dict | list) and value and not self._chance(6):
            inner = self._mapping(value, indent + 2) if isinstance(value, dict) else self._list(value, indent)
            return f":\n{inner}"
        if isinstance(value, str) and not isinstance(value, Raw) and _WORD.fullmatch(value) and self._chance(20):
            return f": >-\n{' ' * (indent + 2)}{value}\n"
        return f"{self._separator}{self._flow(value)}\n"

    def _list(self, value: list[Any], indent: int) -> str:
        lines = []
        for item in value:
            if isinstance(item, dict) and item and not self._chance(6):
                block = self._mapping(item, indent + 2)
                lines.append(f"{' ' * indent}- {block[indent + 2 :]}")
            else:
                lines.append(f"{' ' * indent}- {self._flow(item)}\n")
        return "".join(lines)

    def _flow(self, value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key}: {self._flow(inner)}" for key, inner in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(self._flow, value)) + "]"
        return self._scalar(value)

    def _scalar(self, value: Any) -> str:
        if isinstance(value, Raw):
            return str(value)
        if not isinstance(value, str):
            return json.dumps(value)
        if _WORD.fullmatch(value) and value.lower() not in _WORDS_OF_YAML and not self._chance(5):
            return f"!!str {value}" if self._chance(15) else value
        return f"'{value}'" if "'" not in value and self._chance(2) else json.dumps(value)

    def _chance(self, one_in: int) -> bool:
        return self._random.randrange(one_in) == 0
