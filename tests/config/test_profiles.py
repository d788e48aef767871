"""Profiles that a command activates: what must be said to `diagnose` so that it sees what `dev` would."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from watcher.config.documents import documents
from watcher.config.files import File
from watcher.config.profiles import for_diagnose
from watcher.config.project import Project


def words(
    activation: str,
    command: str = "dev",
    profiles: tuple[str, ...] = (),
    environ: dict[str, str] | None = None,
    **project: Any,
) -> tuple[str, ...]:
    text = f"profiles:\n- name: p\n  activation: {activation}\n"
    file = File("f", documents(text, "f"))
    return for_diagnose((file,), Project(command=command, profiles=profiles, **project), environ or {})


@pytest.mark.parametrize(
    ("activation", "command", "expected"),
    [
        ("[{command: dev}]", "dev", ("p",)),
        ("[{command: dev}]", "run", ()),
        ("[{command: dev|debug}]", "debug", ("p",)),
        ("[{command: diagnose}]", "dev", ("-p",)),
        ("[{command: '!dev'}]", "dev", ("-p",)),
        ("[{command: '!run'}]", "dev", ()),
        ("[{command: '('}]", "dev", ()),
        ("[{env: A=b}]", "dev", ()),
        ("[{command: dev}, {command: run}]", "run", ("p",)),
        ("[{command: dev, env: 'A='}]", "dev", ("p",)),
        ("[{command: dev, env: A=b}]", "dev", ()),
        ("[{command: dev}, {env: A=b}]\n  requiresAllActivations: true", "dev", ()),
        ("dev", "dev", ()),
        ("[dev]", "dev", ()),
    ],
)
def test_only_what_diagnose_would_see_otherwise_is_said(
    activation: str, command: str, expected: tuple[str, ...]
) -> None:
    """On where the command activates it and diagnose does not, off where it is the other way round."""
    assert words(activation, command) == expected


def test_an_environment_condition_counts() -> None:
    """A regular expression on the variable's value, beside the command."""
    assert words("[{command: dev, env: A=^b}]", environ={"A": "bc"}) == ("p",)
    assert words("[{command: dev, env: A=^b}]", environ={"A": "cb"}) == ()


def test_what_the_user_says_of_a_profile_holds() -> None:
    """-p and -p -name leave nothing to correct, and come last as in Skaffold."""
    assert words("[{command: dev}]", profiles=("p", "q")) == ("p", "q")
    assert words("[{command: dev}]", profiles=("-p",)) == ("-p",)
    assert words("[{command: dev}]", profiles=("q",)) == ("p", "q")


def test_automatic_activation_can_be_off() -> None:
    """By Skaffold's own flag, or else its variable."""
    off, on = "--profile-auto-activation=false", "--profile-auto-activation=true"
    variable = {"SKAFFOLD_PROFILE_AUTO_ACTIVATION": "false"}
    assert words("[{command: dev}]", environ=variable) == ()
    assert words("[{command: dev}]", profile_flags=(off,)) == ()
    assert words("[{command: dev}]", environ=variable, profile_flags=(on,)) == ("p",)


@pytest.mark.parametrize(("context", "expected"), [("prod-1", ("p",)), ("stage", ())])
def test_a_kube_context_that_was_named_counts(context: str, expected: tuple[str, ...]) -> None:
    """With --kube-context both conditions can be judged here."""
    assert words("[{command: dev, kubeContext: prod}]", kube_context=context) == expected


def test_a_kube_context_beside_a_command_is_said_aloud(caplog: pytest.LogCaptureFixture) -> None:
    """Whether it holds is not known here; the user is told what to say."""
    with caplog.at_level(logging.WARNING):
        assert words("[{command: dev, kubeContext: prod}]") == ()
    assert "say -p p or -p -p" in caplog.text
