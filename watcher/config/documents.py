"""Parses YAML text into plain values that know their lines and their places in the text.

Scalars have the meaning that Skaffold's YAML library gives them (gopkg.in/yaml.v3): unknown tags are ignored, a date is
a text, `yes` and `=` are texts. Anchors, aliases and merge keys are resolved. ConfigError is the only error.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import re
from collections.abc import Iterator
from typing import Any

import yaml

from watcher.errors import ConfigError, shown
from watcher.safe_yaml import EventParser, OutOfBoundsError, check_bounds

_TAG = "tag:yaml.org,2002:"
_RESOLVED_TAGS = {f"{_TAG}{name}" for name in ("null", "bool", "int", "float", "timestamp")}
_MERGE = "<<"
_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_INTEGER = re.compile(r"[-+]?(0x[0-9a-f]+|0b[01]+|0o?[0-7]+|0|[1-9][0-9]*)", re.IGNORECASE)
_OCTAL = re.compile(r"[-+]?0[0-7]*")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)(e[-+]?[0-9]+)?", re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
# Longer numbers make no sense in a configuration, and Python converts them slowly.
_MAX_DIGITS = 64

Span = tuple[int, int]


class Mapping(dict[str, Any]):
    """A YAML mapping. `line`: number of its first line, `lines`: of its values, `key_lines`: of its keys.

    `spans`: the place of each value in the text, from its first character (or that of its tag or anchor) to its end.
    """

    def __init__(self, content: dict[str, Any] | None = None, line: int = 0) -> None:
        super().__init__(content or {})
        self.line = line
        self.lines: dict[str, int] = {}
        self.key_lines: dict[str, int] = {}
        self.spans: dict[str, Span] = {}


def documents(text: str, source: str) -> tuple[Mapping, ...]:
    """All documents of a YAML text. Raises ConfigError naming `source` and the line."""
    try:
        values = list(_values(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        if isinstance(error, OutOfBoundsError):
            raise ConfigError(f"{source}{line}: {error.problem}") from None
        raise ConfigError(f"{source}{line}: not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeError):
        raise ConfigError(f"{source}: not YAML: it contains characters that YAML does not allow") from None
    for value in values:
        if not isinstance(value, Mapping):
            what = "empty" if value is None else f"a {type(value).__name__}, not a mapping"
            raise ConfigError(f"{source}: a document is {what}")
    return tuple(values)


def mappings(value: object) -> list[Mapping]:
    """The mappings in a list; nothing if it is not a list. For parts of a file that Skaffold checks."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def part_of(mapping: Mapping, field: str) -> Mapping:
    """The mapping in a field; an empty one if it is not a mapping."""
    part = mapping.get(field)
    return part if isinstance(part, Mapping) else Mapping()


def text_of(value: object) -> str:
    """A scalar as Skaffold decodes it into a text field; "" for null and for anything but a scalar."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else ""


def _values(text: str) -> Iterator[Any]:
    check_bounds(text)  # bounds the depth of calls and the memory
    parser = EventParser(text)
    parser.get_event()  # the stream's start
    while not parser.check_event(yaml.StreamEndEvent):
        parser.get_event()  # the document's start
        yield _Composed(parser).value(parser.get_event())
        parser.get_event()  # the document's end


class _Composed:
    """Builds one document's values. An alias is the very value it refers to, not a copy."""

    def __init__(self, parser: Any) -> None:
        self._parser = parser
        self._anchors: dict[str, Any] = {}

    def value(self, event: yaml.NodeEvent) -> Any:
        """Builds the value that begins with this parser event."""
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(event)
        # Not complete yet: an alias inside it would be a circle.
        self._anchors |= {event.anchor: _OPEN} if event.anchor else {}
        if isinstance(event, yaml.MappingStartEvent):
            found: Any = self._mapping(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            found = [self.value(item) for item in self._items(yaml.SequenceEndEvent)]
        else:
            found = _scalar(event)
        self._anchors |= {event.anchor: found} if event.anchor else {}
        return found

    def _aliased(self, event: yaml.AliasEvent) -> Any:
        if event.anchor not in self._anchors:
            raise _error(f"found undefined alias {event.anchor!r}", event)
        if self._anchors[event.anchor] is _OPEN:
            raise _error("an alias inside its own anchor", event)
        return self._anchors[event.anchor]

    def _items(self, end: type[yaml.Event]) -> Iterator[Any]:
        while not isinstance(event := self._parser.get_event(), end):
            yield event

    def _mapping(self, event: yaml.MappingStartEvent) -> Mapping:
        own, merged = Mapping(line=_line(event)), list[Mapping]()
        for key in self._items(yaml.MappingEndEvent):
            found = self.value(key)
            start = self._parser.get_event()
            value = self.value(start)
            if _is_merge(key):
                merged += _merge_sources(value, start)
                continue
            name = key.value if isinstance(key, yaml.ScalarEvent) else shown(found)
            if name in own:
                raise _error(f"mapping key {shown(name)} is there twice", key)
            own[name] = value
            own.lines[name], own.key_lines[name], own.spans[name] = _line(start), _line(key), _span(start)
        for source in merged:
            for name in source.keys() - own.keys():
                own[name], own.lines[name] = source[name], source.lines[name]
                own.key_lines[name], own.spans[name] = source.key_lines[name], source.spans[name]
        return own


_OPEN = object()


def _is_merge(key: yaml.NodeEvent) -> bool:
    return isinstance(key, yaml.ScalarEvent) and key.value == _MERGE and key.implicit[0]


def _merge_sources(value: object, event: yaml.Event) -> list[Mapping]:
    """The mappings of `<<: *one` or `<<: [*one, *other]`; if several have a key, the first one counts."""
    sources = value if isinstance(value, list) else [value]
    if not all(isinstance(source, Mapping) for source in sources):
        raise _error("map merge requires map or sequence of maps as the value", event)
    return mappings(sources)


def _scalar(event: Any) -> Any:
    if event.tag == f"{_TAG}binary":
        try:
            return base64.b64decode(event.value, validate=False).decode()
        except (binascii.Error, ValueError):
            raise _error("!!binary value contains invalid base64 data", event) from None
    if event.implicit[0] or event.tag in _RESOLVED_TAGS:
        return plain_scalar(event.value)
    return event.value


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _span(event: Any) -> Span:
    """A value's place in the text. Its end is correct only for scalars and aliases; others' ends are not used."""
    return int(event.start_mark.index), int(event.end_mark.index)


def _error(problem: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def plain_scalar(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar (yaml.v3, resolve.go). A whole number is an int, as Skaffold writes it out."""
    if text in _WORDS:
        return _WORDS[text]
    number = text.replace("_", "")
    if len(number) > _MAX_DIGITS or not number:
        return text
    if text[0] != "_" and _INTEGER.fullmatch(number):
        return int(number, 8 if _OCTAL.fullmatch(number) else 0)  # 0: by its prefix
    if _FLOAT.fullmatch(number) and text[0] != "_":
        found = float(number)
        return int(found) if found.is_integer() and abs(found) < 1e21 else found
    return f"{text}T00:00:00Z" if _is_date(text) else text


def _is_date(text: str) -> bool:
    """Whether the text is a date, which Skaffold writes out as the moment at which it begins."""
    try:
        return bool(_DATE.fullmatch(text) and datetime.date.fromisoformat(text))
    except ValueError:
        return False
