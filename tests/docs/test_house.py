"""The rules for files and names in watcher and forwarders: no long file, and no name for two things."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = [path for package in ("watcher", "forwarders") for path in sorted((ROOT / package).rglob("*.py"))]
MAX_LINES = 300
MAX_WALK = 12


def names_in(path: Path) -> list[str]:
    """The classes of a module, private ones too, and its public functions."""
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found.append(node.name.lstrip("_"))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            found.append(node.name)
    return found


def test_files_are_short() -> None:
    """A longer file has two ideas."""
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert lengths
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_a_name_means_one_thing() -> None:
    """A search for a class or a function finds one place."""
    places = defaultdict(list)
    for path in FILES:
        for name in names_in(path):
            places[name].append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_a_connection_passes_few_files() -> None:
    """ARCHITECTURE.md names every module from accept to the first byte's write: at most twelve."""
    pages = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    walk = pages.partition("## Walk 1")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([a-z_/]+\.py)`", walk))
    assert 8 <= len(named) <= MAX_WALK
    assert [name for name in named if not (ROOT / "forwarders" / name).exists()] == []
