"""Every portside command that the pages tell to type exists, with its options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from tests.docs.test_pages import PAGES, ROOT
from watcher.cli.main import portside

# A command ends at the shell's next operator; inside `code` at the closing backtick.
COMMAND = re.compile(r"(?:(?<=`)|^ {4}(?:\$ )?|\$\(|&& |& )portside ((?:[^`|&#>;)\n]|'[^'\n]*')+)", re.MULTILINE)


def commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for words in COMMAND.findall(page.read_text()):
            yield str(page.relative_to(ROOT)), words.strip()


FOUND = sorted(set(commands()))


@pytest.mark.parametrize(("page", "words"), FOUND, ids=[f"{page}: {words}" for page, words in FOUND])
def test_it_can_be_typed(page: str, words: str) -> None:
    """Placeholders (NAME, ID, …) are not checked, and an argument may be missing in a sentence."""
    name, *rest = [word for word in shlex.split(words.replace("$!", "1")) if word not in {"…", "..."}]
    if name.startswith("-") or name == "COMMAND":
        return  # portside --help
    command = portside.get_command(click.Context(portside), name)
    assert command is not None, words
    try:
        command.make_context(name, list(rest))
    except click.exceptions.Exit:
        return  # --help
    except click.NoSuchOption as problem:
        pytest.fail(str(problem))
    except click.UsageError:
        return


def test_they_are_found() -> None:
    """The pattern finds each command at least once."""
    assert {words.split()[0] for _, words in FOUND} >= {
        "run",
        "watch",
        "forward",
        "wait",
        "explain",
        "doctor",
        "status",
    }
