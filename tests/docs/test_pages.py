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
ROOMS = ("watcher", "forwarders", "fixtures", "tests")
# ARCHITECTURE.md is to be read in ten minutes.
LONGEST = 100
# Changes in one area of CHANGELOG.md that somebody still reads.
MOST_CHANGES = 25
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


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_modules_exist(page: Path) -> None:
    """`relay.py`, `skaffold/stream.py`: also where only the end of the path is named."""
    named = re.findall(r"`((?:\w+/)*\w+\.py)`", page.read_text())
    missing = [name for name in named if not any(ROOT.glob(f"{room}/**/{name}") for room in ROOMS)]
    assert missing == []


def test_bulkheads_stand_where_the_page_says() -> None:
    """`pool._serve`: a module of that name defines that function."""
    page = (ROOT / "docs" / "design" / "bulkheads.md").read_text()
    rows = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    named = re.findall(r"`(\w+)\.(\w+)`", rows)
    assert named
    assert [one for one in named if not is_defined(*one)] == []


def is_defined(module: str, function: str) -> bool:
    sources = [path for room in ROOMS for path in ROOT.glob(f"{room}/**/{module}.py")]
    return any(re.search(rf"def {function}\(", path.read_text()) for path in sources)


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


def test_the_changelog_is_grouped() -> None:
    """Below a heading of its area; a merge that keeps the list of one side beside the other's is noticed here."""
    text = (ROOT / "CHANGELOG.md").read_text()
    areas = re.split(r"^### ", text, flags=re.MULTILINE)
    assert "\n- " not in areas[0]
    assert [area.partition("\n")[0] for area in areas[1:] if area.count("\n- ") > MOST_CHANGES] == []
