"""Skaffold's port-forward syntax, as tables."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.errors import UsageError
from watcher.skaffold.modes import OFF, Mode, default_modes, parse_modes

U, S, D, P = Mode.USER, Mode.SERVICES, Mode.DEBUG, Mode.PODS
TRUE = ["true", "TRUE", "True", "t", "T", "1"]
FALSE = ["false", "FALSE", "False", "f", "F", "0", "off"]


@pytest.mark.parametrize(
    ("command", "modes"),
    [
        ("dev", {U}),
        ("debug", {U, D}),
        ("run", set()),
        ("deploy", set()),
        ("verify", set()),
        ("apply", set()),
        ("watch", {U, S}),
    ],
)
def test_defaults(command: str, modes: set[Mode]) -> None:
    """What each command forwards without a word."""
    assert default_modes(command) == modes


@pytest.mark.parametrize(
    ("text", "command", "modes"),
    [
        ("user", "dev", {U}),
        ("services", "debug", {S}),
        ("debug", "dev", {D}),
        ("pods", "dev", {P}),
        ("pods", "debug", {P}),
        ("user,debug", "debug", {U, D}),
        ("pods,services", "run", {P, S}),
        ("user,user,services,user", "dev", {U, S}),
        ("debug,pods", "debug", {P}),
        ("user,services,debug,pods", "debug", {U, S, P}),
    ],
)
def test_modes(text: str, command: str, modes: set[Mode]) -> None:
    """Lists, duplicates, and pods in the place of debug."""
    assert parse_modes(text, command) == modes


@pytest.mark.parametrize("text", TRUE)
@pytest.mark.parametrize(
    ("command", "modes"), [("dev", {U, S}), ("run", {U, S}), ("debug", {U, S, D}), ("watch", {U, S})]
)
def test_true(text: str, command: str, modes: set[Mode]) -> None:
    """Every spelling of true that Go's ParseBool knows is a bare --port-forward."""
    assert parse_modes(text, command) == modes


@pytest.mark.parametrize("text", FALSE)
def test_off(text: str) -> None:
    """Off, and every false, is no mode at all."""
    assert parse_modes(text, "debug") == OFF


@pytest.mark.parametrize(
    "text", ["bogus", "", "USER", "User", "user,", ",user", " user", "user, services", "tRUE", "yes", "user;pods"]
)
def test_unknown_mode_names_the_accepted_ones(text: str) -> None:
    """An unknown mode is refused in one line that says what is accepted."""
    with pytest.raises(UsageError, match="accepted are user, services, debug, pods") as raised:
        parse_modes(text, "dev")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["off,user", "user,off", "true,user", "user,0", "off,off", "true,true", "off,bogus"])
def test_off_and_booleans_stand_alone(text: str) -> None:
    """Off and booleans beside anything else are refused."""
    with pytest.raises(UsageError, match="cannot be combined"):
        parse_modes(text, "dev")


@given(st.lists(st.sampled_from([*(mode.value for mode in Mode)]), min_size=1))
def test_order_and_repetition_do_not_matter(words: list[str]) -> None:
    """A list of modes is a set."""
    assert parse_modes(",".join(words), "dev") == parse_modes(",".join(sorted(set(words))), "dev")


@given(st.text(max_size=30))
def test_any_text(text: str) -> None:
    """Any text is a set of modes or a usage error, nothing else."""
    with contextlib.suppress(UsageError):
        assert parse_modes(text, "dev") <= set(Mode)
