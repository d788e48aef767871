"""The hand-written pages: links and named files exist, and the index has every page.

The quotes of the pages are in test_quoted_lines.py, their commands in test_commands.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
INDEX = ROOT / "docs" / "README.md"
ROOMS = ("watcher", "forwarders", "fixtures", "tests")
# Lines of ARCHITECTURE.md, which takes ten minutes to read.
LONGEST = 100
# The most changes in one area of CHANGELOG.md.
MOST_CHANGES = 25
# `forwarders/pool.py`, `tests/chaos`, `scripts/test`: names of files in this repository.
NAMED = re.compile(r"`((?:watcher|forwarders|tests|fixtures|scripts|docs|examples)/[\w./*-]+)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Linked files and headings exist."""
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
    """A change that moves a file also changes the pages that name it."""
    missing = [name for name in NAMED.findall(page.read_text()) if not list(ROOT.glob(name.rstrip("./")))]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_modules_exist(page: Path) -> None:
    """`relay.py`, `skaffold/stream.py`: also if a page names only the end of the path."""
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
    """docs/README.md links to every page of docs except itself."""
    linked = {(INDEX.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)", INDEX.read_text())}
    pages = {page for page in ROOT.glob("docs/**/*.md") if page.parent.name != "benchmarks"} - {INDEX}
    assert {name_of(page) for page in pages - linked} == set()


def test_the_architecture_is_short() -> None:
    """Longer explanations are in the design pages."""
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) <= LONGEST


def test_comments_name_pages_that_exist() -> None:
    """Comments name pages by their path from the root."""
    sources = [
        path for folder in ("watcher", "forwarders", "tests", "fixtures") for path in ROOT.glob(f"{folder}/**/*.py")
    ]
    named = {name for path in sources for name in re.findall(r"\b(docs/[\w/-]+\.md|[A-Z]{4,}\.md)\b", path.read_text())}
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_changelog_is_grouped() -> None:
    """Each change has an area, and no list stands twice, as after a bad merge."""
    text = (ROOT / "CHANGELOG.md").read_text()
    areas = re.split(r"^### ", text, flags=re.MULTILINE)
    assert "\n- " not in areas[0]
    assert [area.partition("\n")[0] for area in areas[1:] if area.count("\n- ") > MOST_CHANGES] == []
