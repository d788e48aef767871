"""Owns YAML text to plain values that remember where they stand. Refuses to know what they mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from watcher.config.errors import ConfigError


class Mapping(dict[str, Any]):
    """A YAML mapping; `line` is its first line's number, `lines` those of its values, from 1."""

    line: int = 0
    lines: dict[str, int]


def documents(text: str, source: str) -> Iterator[Mapping]:
    """Every document of a YAML text that is a mapping. Raises ConfigError naming the line."""
    try:
        values = [_value(node) for node in yaml.compose_all(text, Loader=yaml.SafeLoader)]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{source}{line}: not YAML: {getattr(error, 'problem', None) or 'unreadable'}") from None
    for value in values:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{source}: a document is a {type(value).__name__}, not a mapping")
        yield value


def _value(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        mapping = Mapping()
        mapping.line = node.start_mark.line + 1
        mapping.lines = {}
        for key, value in node.value:
            name = str(_value(key))
            mapping[name] = _value(value)
            mapping.lines[name] = value.start_mark.line + 1
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node)
    finally:
        loader.dispose()
