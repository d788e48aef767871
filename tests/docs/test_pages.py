"""The pages that people write: their links lead somewhere, and what they quote is what portside prints."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
SOURCES = [path for room in ("watcher", "forwarders") for path in (ROOT / room).rglob("*.py")]
# What an API server and a container runtime say: recorded from real ones, and held to them by tests/conformance.
RECORDED = [
    ROOT / "fixtures/embedded/statuses.py",
    ROOT / "fixtures/embedded/streams.py",
    ROOT / "forwarders/tunnel.py",
]
VALUE = "\0"


def texts() -> Iterator[str]:
    """Every text in the sources, with VALUE for what is filled in."""
    for path in (*SOURCES, *RECORDED):
        tree = ast.parse(path.read_text())
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if id(node) in docstrings:
                continue
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


TEXTS = tuple(texts())


def quoted(page: Path) -> list[str]:
    return re.findall(r"^> (.+)$", page.read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", quoted(ROOT / "docs" / "troubleshooting.md"))
def test_what_is_quoted_is_printed(line: str) -> None:
    """Its words stand in one text of the code, in their order."""
    pattern = re.compile(".*".join(re.escape(part.strip()) for part in line.split("…")), re.DOTALL)
    assert any(pattern.search(text) for text in TEXTS), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Files that exist, headings that stand there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http:", "https:")):
            continue
        name, _, heading = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}, target
