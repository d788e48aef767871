"""Owns the YAML loaders for files that others wrote. Refuses merge keys that grow without bound, and half characters.

A few lines, each merging the one before nine times, would otherwise take all memory: PyYAML keeps every pair of them.
A lone surrogate ("\\ud800") is no text: it could not be written anywhere, not even in a message.
"""

from __future__ import annotations

from typing import Any

import yaml


class _Careful:
    """Keeps of each key the pair that counts, after every merge."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)  # type: ignore[misc]  # of the loader that this stands before
        kept: dict[object, Any] = {}
        for number, (key, value) in enumerate(node.value):
            kept[(key.tag, key.value) if isinstance(key, yaml.ScalarNode) else number] = (key, value)
        node.value = list(kept.values())

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        text = super().construct_scalar(node)  # type: ignore[misc]  # likewise
        try:
            text.encode()
        except UnicodeEncodeError:
            raise yaml.MarkedYAMLError(problem="half a character", problem_mark=node.start_mark) from None
        return text


class PlainLoader(_Careful, yaml.SafeLoader):
    """In Python."""


class FastLoader(_Careful, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # which of the two is chosen here
    """In C, where PyYAML has it."""
