"""The options that result from the command line, the variables and skaffold.env."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from watcher.cli import collected, option_values, options
from watcher.cli.collected import Options
from watcher.cli.facts_from_options import options_for_run
from watcher.skaffold import command_line

VARIABLES = {
    "SKAFFOLD_NAMESPACE": "variable",
    "SKAFFOLD_PORT_FORWARD": "services",
    "SKAFFOLD_PROFILE": "a",
    "SKAFFOLD_KUBE_CONTEXT": "variable",
    "SKAFFOLD_KUBECONFIG": "variable",
    "SKAFFOLD_FILENAME": "variable.yaml",
    "SKAFFOLD_MODULE": "variable",
}
FLAGS = "-n flag --port-forward=user -p b --kube-context flag --kubeconfig flag -f flag.yaml -m flag"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    option_values.environment.cache_clear()


def given_options(words: str, *, own: bool) -> Options:
    """The options of a forwarding command with these words."""
    found: list[Options] = []

    @click.command()
    @options.shared
    def command(**given: Any) -> None:
        found.append(collected.collect_own(given) if own else collected.collect(given))

    command.main(words.split(), standalone_mode=False)
    return found[0]


def under_run(ours: str, skaffolds: str) -> Options:
    asked = command_line.read_command(["skaffold", "dev", *skaffolds.split()], option_values.environment())
    return options_for_run(given_options(ours, own=True), asked)


def fields(found: Options) -> tuple[object, ...]:
    return (
        found.namespace,
        found.port_forward,
        found.profile,
        found.kube_context,
        found.kubeconfig,
        found.filename,
        found.module,
    )


def test_under_run_skaffolds_flags_win_over_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skaffold's flags take precedence over the variables; lists are joined as in Skaffold."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    expected = ("flag", "user", ("a", "b"), "flag", "flag", ("flag.yaml",), ("variable", "flag"))
    assert fields(under_run("", FLAGS)) == expected


def test_under_run_the_variables_hold_without_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without flags, Skaffold's variables apply to portside as well."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    expected = ("variable", "services", ("a",), "variable", "variable", ("variable.yaml",), ("variable",))
    assert fields(under_run("", "")) == expected


def test_what_portside_itself_was_told_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """portside's own options take precedence over Skaffold's flags and the variables."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    ours = "-n own --port-forward=debug -p o --kube-context own --kubeconfig own -f own.yaml -m own"
    assert fields(under_run(ours, FLAGS)) == ("own", "debug", ("o",), "own", "own", ("own.yaml",), ("own",))


def test_nothing_asked_is_not_an_empty_answer() -> None:
    """An empty --port-forward, which Skaffold refuses, differs from a missing one."""
    assert under_run("", "").port_forward is None
    assert under_run("", "--port-forward=").port_forward == ""


def test_skaffold_env_holds_beside_skaffold_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`watch` reads skaffold.env like Skaffold; variables and flags take precedence."""
    (tmp_path / "skaffold.env").write_text(
        "SKAFFOLD_NAMESPACE=file\nSKAFFOLD_PROFILE=a,b\nSKAFFOLD_PORT_FORWARD=debug\n"
    )
    found = given_options("", own=False)
    assert (found.namespace, found.profile, found.port_forward) == ("file", ("a", "b"), "debug")
    monkeypatch.setenv("SKAFFOLD_NAMESPACE", "variable")
    option_values.environment.cache_clear()
    assert given_options("", own=False).namespace == "variable"
    assert given_options("-n flag", own=False).namespace == "flag"
