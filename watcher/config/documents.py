"""Owns YAML text to plain values that remember where they stand: anchors, aliases and merge keys resolved.

Refuses to know what they mean. Whatever the text is, the only error is ConfigError.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from typing import Any

import yaml

from watcher.careful_yaml import OutOfBoundsError, PlainLoader
from watcher.config.errors import ConfigError


class Mapping(dict[str, Any]):
    """A YAML mapping. `line` is its first line's number, `lines` has those of its values, `key_lines` of its keys."""

    line: int = 0
    lines: dict[str, int]
    key_lines: dict[str, int]


class _Short(reprlib.Repr):
    """Aliases make a few lines of YAML as large as memory: a message shows the beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, 120, 120

    repr_Mapping = reprlib.Repr.repr_dict  # noqa: N815 - reprlib looks methods up by the type's name


def shown(value: object) -> str:
    """A value for a message: like repr, but short."""
    return _Short().repr(value)


def documents(text: str, source: str) -> tuple[Mapping, ...]:
    """Every document of a YAML text. Raises ConfigError naming `source` and the line."""
    try:
        values = list(_values(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        if isinstance(error, OutOfBoundsError):
            raise ConfigError(f"{source}{line}: {error.problem}") from None
        raise ConfigError(f"{source}{line}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError:
        raise ConfigError(f"{source}: not YAML: it has characters that no text has") from None
    except RecursionError:
        raise ConfigError(f"{source}: it is nested too deeply to be read") from None
    except ValueError as error:  # an impossible date or number
        raise ConfigError(f"{source}: not YAML: {error}") from None
    for value in values:
        if not isinstance(value, Mapping):
            what = "empty" if value is None else f"a {type(value).__name__}, not a mapping"
            raise ConfigError(f"{source}: a document is {what}")
    return tuple(values)


def mappings(value: object) -> list[Mapping]:
    """The mappings in a list; nothing where there is no list. For reading what somebody else will judge."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _values(text: str) -> Iterator[Any]:
    loader = PlainLoader(text)
    try:
        while loader.check_node() and (node := loader.get_node()) is not None:
            yield _Composed(loader).value(node)
    finally:
        loader.dispose()


class _Composed:
    """One document's nodes as values. Each node is turned once, however many aliases lead to it."""

    def __init__(self, loader: PlainLoader) -> None:
        self._loader = loader
        self._done: dict[yaml.Node, Any] = {}
        self._open: set[yaml.Node] = set()

    def value(self, node: yaml.Node) -> Any:
        if node in self._done:
            return self._done[node]
        if node in self._open:
            raise yaml.MarkedYAMLError(problem="an alias inside its own anchor", problem_mark=node.start_mark)
        self._open.add(node)
        self._done[node] = self._made(node)
        self._open.remove(node)
        return self._done[node]

    def _made(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item) for item in node.value]
        return self._loader.construct_object(node)

    def _mapping(self, node: yaml.MappingNode) -> Mapping:
        self._loader.flatten_mapping(node)  # merge keys: `<<: *anchor`
        mapping = Mapping()
        mapping.line = node.start_mark.line + 1
        mapping.lines, mapping.key_lines = {}, {}
        for key, value in node.value:
            found = self.value(key)
            name = str(found) if isinstance(key, yaml.ScalarNode) else shown(found)
            mapping[name] = self.value(value)
            mapping.lines[name] = value.start_mark.line + 1
            mapping.key_lines[name] = key.start_mark.line + 1
        return mapping
