"""skaffold.env as Skaffold's godotenv reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.skaffold.skaffold_env import effective_environment, parse_env_file

ENV = """# a comment
PLAIN=one
export EXPORTED = two   # said why
  YAML: three
SINGLE='a $PLAIN # b'
DOUBLE="line\\nnext ${PLAIN} \\$KEPT"
MANY="first
second"
REF=$PLAIN-$NOPE-end
EMPTY=
HASH=a#b
"""


def test_env_file() -> None:
    """skaffold.env in godotenv's syntax."""
    assert parse_env_file(ENV) == {
        "PLAIN": "one",
        "EXPORTED": "two",
        "YAML": "three",
        "SINGLE": "a $PLAIN # b",
        "DOUBLE": "line\nnext one $KEPT",
        "MANY": "first\nsecond",
        "REF": "one--end",
        "EMPTY": "",
        "HASH": "a#b",
    }


@pytest.mark.parametrize("text", ["A=1\nno assignment here\n", "A=1\nB='open", 'A="open', "=x", "A-B=1"])
def test_malformed_env_file_is_ignored_whole(text: str) -> None:
    """Skaffold warns and takes nothing of a malformed file."""
    assert parse_env_file(text) == {}


def test_env_file_does_not_override(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set already wins over the file, also where it is empty."""
    (tmp_path / "skaffold.env").write_bytes(b"A=1\nC=3\r\n")
    monkeypatch.chdir(tmp_path)
    assert effective_environment({"A": "", "B": "b"}) == {"A": "", "B": "b", "C": "3"}


@given(st.text(max_size=200))
def test_any_env_file(text: str) -> None:
    """Any text is read without an exception."""
    assert isinstance(parse_env_file(text), dict)
