"""docs/reference is what the code says now."""

from __future__ import annotations

import msgspec
import pytest

from fixtures.reference.__main__ import FOLDER, stale
from fixtures.reference.pages import PAGES
from fixtures.reference.records import MEANINGS, RECORDS, STATES
from forwarders.spec import State
from watcher.cli.main import COMMANDS


def test_no_page_is_stale() -> None:
    """Where this fails: scripts/docs."""
    assert [path.name for path in stale()] == []


def test_no_page_is_left_over() -> None:
    """A page that nothing writes any more goes."""
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_there(command: str) -> None:
    """With its usage."""
    assert f"    portside {command} " in PAGES["options.md"]()


def test_every_meaning_is_of_a_field() -> None:
    """And every state has one."""
    assert MEANINGS.keys() == {field.encode_name for record, _ in RECORDS for field in msgspec.structs.fields(record)}
    assert {name for name, _ in STATES} == {state.value for state in State}
