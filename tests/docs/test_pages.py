"""The pages that people write: links and named files exist, and the index has them all.

What the pages quote is in test_quoted_lines.py, the commands they show in test_commands.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
INDEX = ROOT / "docs" / "README.md"
# ARCHITECTURE.md is to be read in ten minutes.
LONGEST = 100
# `forwarders/pool.py`, `tests/chaos`, `scripts/test`: what a page names so is in this repository.
NAMED = re.compile(r"`((?:watcher|forwarders|tests|fixtures|scripts|docs|examples)/[\w./*-]+)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Files that exist, headings that are there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http:", "https:")):
            continue
        name, _, heading = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}, target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_files_exist(page: Path) -> None:
    """A file that is moved or renamed takes the pages that name it along."""
    missing = [name for name in NAMED.findall(page.read_text()) if not list(ROOT.glob(name.rstrip("./")))]
    assert missing == []


def test_the_index_has_every_page() -> None:
    """docs/README.md links to each page but itself; what stands in the root and in examples has its own way in."""
    linked = {(INDEX.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)", INDEX.read_text())}
    pages = {page for page in ROOT.glob("docs/**/*.md") if page.parent.name != "benchmarks"} - {INDEX}
    assert {name_of(page) for page in pages - linked} == set()


def test_the_architecture_is_short() -> None:
    """What does not fit is a design page."""
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) <= LONGEST


def test_comments_name_pages_that_exist() -> None:
    """Code points at pages by their path from the root."""
    sources = [
        path for folder in ("watcher", "forwarders", "tests", "fixtures") for path in ROOT.glob(f"{folder}/**/*.py")
    ]
    named = {name for path in sources for name in re.findall(r"\b(docs/[\w/-]+\.md|[A-Z]{4,}\.md)\b", path.read_text())}
    assert {name for name in named if not (ROOT / name).exists()} == set()
