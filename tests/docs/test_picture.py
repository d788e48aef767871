"""The README's picture: drawn from a screen's escape sequences, without anything from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fixtures.picture.__main__ import DOCS, TABLE
from fixtures.picture.screen import svg

NAMESPACE = "{http://www.w3.org/2000/svg}"
SCREEN = "NAME    STATE\nweb     \x1b[32mready\x1b[0m\n\x1b[2mhttp://127.0.0.1:8080\x1b[0m"


def texts(picture: str) -> str:
    """The texts of the picture."""
    found = ElementTree.fromstring(picture).iter(f"{NAMESPACE}text")  # noqa: S314 - our own picture
    return " ".join(" ".join(text.itertext()).replace("\xa0", " ") for text in found)


@pytest.mark.parametrize("picture", [svg(SCREEN, 40, "$ portside watch"), DOCS / TABLE], ids=["drawn", "in the docs"])
def test_it_is_whole_in_itself(picture: str | Path) -> None:
    """The command is its title; links are plain text, and nothing is fetched."""
    drawn = picture if isinstance(picture, str) else picture.read_text()
    assert "$ portside watch" in texts(drawn)
    assert "ready" in texts(drawn)
    assert "http://127.0.0.1:8080" in texts(drawn)
    assert not re.search(r"url\((?!#)|href=|src:|<script", drawn)


def test_the_same_screen_is_the_same_picture() -> None:
    """So the file changes only when the screen does."""
    assert svg(SCREEN, 40, "a") == svg(SCREEN, 40, "a")
