"""Exceptions that nobody foresaw, and a seam at which they are raised."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import pytest

Nested = ExceptionGroup("outer", [KeyError("a"), ExceptionGroup("inner", [RuntimeError("b"), OSError("c")])])
FAULTS: Sequence[Exception] = (
    ValueError("unforeseen"),
    RuntimeError("unforeseen"),
    KeyError("unforeseen"),
    RecursionError("maximum recursion depth exceeded"),
    MemoryError(),
    Nested,
)


class Seam:
    """A function, `module:function` or `module:Class.method`, that raises each of some exceptions once after `arm`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
        module, _, names = place.partition(":")
        owner: Any = importlib.import_module(module)
        *way, name = names.split(".")
        for step in way:
            owner = getattr(owner, step)
        self.left: list[Exception] = []
        monkeypatch.setattr(owner, name, self._replacing(getattr(owner, name)))

    def arm(self, faults: Sequence[Exception]) -> None:
        self.left = list(faults)

    def _replacing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(original):

            @functools.wraps(original)
            async def later(*args: Any, **named: Any) -> Any:
                if self.left:
                    raise self.left.pop(0)
                return await original(*args, **named)

            return later

        @functools.wraps(original)
        def now(*args: Any, **named: Any) -> Any:
            if self.left:
                raise self.left.pop(0)
            return original(*args, **named)

        return now
