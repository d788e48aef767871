"""docs/reference is what the code gives."""

from __future__ import annotations

import pytest

from fixtures.reference.__main__ import FOLDER, stale
from fixtures.reference.pages import PAGES
from fixtures.reference.records import STATES
from forwarders.spec import State
from watcher.cli.main import COMMANDS


def test_no_page_is_stale() -> None:
    """If this fails: scripts/docs."""
    assert [path.name for path in stale()] == []


def test_no_page_is_left_over() -> None:
    """The folder has no page that nothing writes."""
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_there(command: str) -> None:
    """With its usage."""
    assert f"    portside {command} " in PAGES["options.md"]()


def test_every_state_has_a_meaning() -> None:
    """Every field has one too, or the page cannot be written."""
    assert {name for name, _ in STATES} == {state.value for state in State}
