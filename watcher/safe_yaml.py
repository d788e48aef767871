"""YAML loaders for untrusted files. Each checks depth and size of a text before it builds anything from it.

The C loader is recursive: 100,000 brackets crash the process. PyYAML keeps every pair of merge keys, so a small text
could need any amount of memory. A lone surrogate ("\\ud800") is an error: no message could be written with it.

Large texts are read in a thread. Only the parser is C, which returns after each event, and the thread gives way often:
in C alone it would keep the interpreter from the event loop until a text is complete.
"""

from __future__ import annotations

import time
from typing import Any, cast

import yaml
from yaml.composer import Composer

# Real files nest ten levels deep. A node costs 500 bytes and 20 µs; a kubeconfig with 5,000 clusters has as many.
MAX_DEPTH, MAX_NODES = 100, 200_000
# libyaml compares each directive with all earlier ones.
MAX_DIRECTIVES = 1000
# So many events are parsed in half a millisecond.
_EVENTS_A_TURN = 50

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Go's YAML reads a date and "=" as strings.
_TEXTS = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"}
_RESOLVERS = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _TEXTS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class OutOfBoundsError(yaml.MarkedYAMLError):
    """The text is nested too deeply or has too many values. `problem` says which, and quotes nothing."""


class EventParser(_SafeLoader):  # type: ignore[misc]  # PyYAML has no types for its C parser
    """Parses a text into events, in C if PyYAML has it. It is not recursive; only what builds nodes from events is.

    Lets the event loop's thread run after some events. Without this a busy thread keeps the interpreter for 5 ms.
    """

    def __init__(self, text: str | bytes) -> None:
        super().__init__(text)
        self._events = 0

    def get_event(self) -> Any:
        self.give_way()
        event = super().get_event()
        if isinstance(event, yaml.ScalarEvent):
            try:
                event.value.encode()
            except UnicodeEncodeError:
                problem = "an escape that is no character (a lone surrogate)"
                mark = cast("Any", event.start_mark)  # of the C parser or of the other one: both are shown alike
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark) from None
        return event

    def give_way(self) -> None:
        self._events += 1
        if self._events % _EVENTS_A_TURN == 0:
            time.sleep(0)


# SafeLoader composes in Python already.
_Base: Any = EventParser if _SafeLoader is yaml.SafeLoader else type("_Base", (Composer, EventParser), {})


class BoundedLoader(_Base):  # type: ignore[misc]  # as above
    """Builds the values of a text in Python. Raises OutOfBoundsError when it is made."""

    yaml_implicit_resolvers = _RESOLVERS

    def __init__(self, text: str | bytes) -> None:
        check_bounds(text)
        EventParser.__init__(self, text)
        Composer.__init__(self)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Keeps only the pair that counts of each key, after every merge: all of them could fill the memory."""
        super().flatten_mapping(node)
        kept: dict[object, Any] = {}
        for number, (key, value) in enumerate(node.value):
            kept[(key.tag, key.value) if isinstance(key, yaml.ScalarNode) else number] = (key, value)
        node.value = list(kept.values())

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        self.give_way()
        return super().construct_scalar(node)


def first_document(data: bytes) -> Any:
    """The value of the first document, None if there is none. Raises yaml.YAMLError."""
    loader = BoundedLoader(data)
    return loader.get_data() if loader.check_data() else None


def check_bounds(text: str | bytes) -> None:
    """Refuses a text that is nested too deeply or too large. Raises OutOfBoundsError; the loader finds other errors."""
    depth = nodes = 0
    if (text.count("\n%") if isinstance(text, str) else text.count(b"\n%")) > MAX_DIRECTIVES:
        raise OutOfBoundsError(problem=f"it has more than {MAX_DIRECTIVES} directives")
    try:
        parser = EventParser(text)
        while depth <= MAX_DEPTH and nodes <= MAX_NODES and (event := parser.get_event()) is not None:
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            nodes += isinstance(event, yaml.NodeEvent)
    except (yaml.YAMLError, ValueError, RecursionError):
        return
    if depth > MAX_DEPTH or nodes > MAX_NODES:
        deep = f"is nested more than {MAX_DEPTH} levels deep"
        problem = deep if depth > MAX_DEPTH else f"has more than {MAX_NODES} values"
        raise OutOfBoundsError(problem=f"it {problem}", problem_mark=event.start_mark)
