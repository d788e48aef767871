"""YAML loaders for untrusted files. Each checks depth and size of a text before it builds anything from it.

The C loader is recursive: 100,000 brackets crash the process. PyYAML keeps every pair of merge keys, so a small text
could need any amount of memory. A lone surrogate ("\\ud800") is an error: no message could be written with it.
"""

from __future__ import annotations

from typing import Any

import yaml

# Real files nest ten levels deep. A node costs 500 bytes and 10 µs; a kubeconfig with 5,000 clusters has as many.
MAX_DEPTH, MAX_NODES = 100, 200_000
# libyaml compares each directive with all earlier ones.
MAX_DIRECTIVES = 1000

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Go's YAML reads a date and "=" as strings.
_TEXTS = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"}
_RESOLVERS = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _TEXTS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class OutOfBoundsError(yaml.MarkedYAMLError):
    """The text is nested too deeply or has too many values. `problem` says which, and quotes nothing."""


class _Careful:
    """Keeps of each key the pair that counts, after every merge. Raises OutOfBoundsError when it is made."""

    yaml_implicit_resolvers = _RESOLVERS

    def __init__(self, text: str | bytes) -> None:
        check_bounds(text)
        super().__init__(text)  # type: ignore[call-arg]  # of the loader that this stands before

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


class FastLoader(_Careful, _Base):  # type: ignore[misc]  # its type is not known before it runs
    """In C, where PyYAML has it."""


def first_document(data: bytes) -> Any:
    """The first document's value, None where there is none. Raises yaml.YAMLError."""
    loader = FastLoader(data)
    try:
        return loader.get_data() if loader.check_data() else None
    finally:
        loader.dispose()


def check_bounds(text: str | bytes) -> None:
    """Raises OutOfBoundsError if the text is too deep or too large. Does not check that it is YAML; the loader does."""
    depth = nodes = 0
    if (text.count("\n%") if isinstance(text, str) else text.count(b"\n%")) > MAX_DIRECTIVES:
        raise OutOfBoundsError(problem=f"it has more than {MAX_DIRECTIVES} directives")
    try:
        parser = _Base(text)
        try:
            # The parser, other than what builds nodes of its events, is not recursive.
            while (event := parser.get_event()) is not None:
                if isinstance(event, yaml.CollectionStartEvent):
                    depth += 1
                elif isinstance(event, yaml.CollectionEndEvent):
                    depth -= 1
                nodes += isinstance(event, yaml.NodeEvent)
                if depth > MAX_DEPTH or nodes > MAX_NODES:
                    deep = f"is nested more than {MAX_DEPTH} levels deep"
                    problem = deep if depth > MAX_DEPTH else f"has more than {MAX_NODES} values"
                    raise OutOfBoundsError(problem=f"it {problem}", problem_mark=event.start_mark)
        finally:
            parser.dispose()
    except OutOfBoundsError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError):
        return
