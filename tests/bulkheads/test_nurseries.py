"""No nursery is kept for callbacks: they may come when it has closed, and `start_soon` raises in a stranger's task."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import forwarders
import watcher

ALLOWED = {"forwarders/tasks.py"}
SOURCES = [
    path
    for package in (forwarders, watcher)
    for path in sorted(Path(package.__file__ or "").parent.rglob("*.py"))
    if "/".join(path.parts[-2:]) not in ALLOWED
]


def kept_nurseries(tree: ast.AST) -> list[int]:
    """Lines that start a task by an attribute: what stands there has been put away by somebody, for later."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))
    return [
        call.lineno
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and (call.func.attr == "start_soon" or (call.func.attr == "start" and "nursery" in ast.unparse(call.func)))
        and isinstance(call.func.value, ast.Attribute)
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: "/".join(path.parts[-2:]))
def test_tasks_are_started_in_nurseries_at_hand(path: Path) -> None:
    """A nursery that is an argument or a block's own is open; one that was stored is `forwarders.tasks.Tasks`."""
    assert kept_nurseries(ast.parse(path.read_text())) == []


def test_the_check_sees_them() -> None:
    """It finds what issue 13 was about."""
    code = "self._nursery.start_soon(f)\nawait self._nursery.start(g)\nnursery.start_soon(h)"
    assert kept_nurseries(ast.parse(code)) == [1, 2]
