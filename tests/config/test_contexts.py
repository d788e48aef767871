"""Which kube-context a configuration, a forward of portside.yaml or a target is in."""

from __future__ import annotations

import pytest

from watcher.cli.forwarding_commands import _with_context_words
from watcher.config.documents import documents
from watcher.config.modules import contexts_of
from watcher.config.portside_yaml import parse_settings
from watcher.config.targets import parse_targets
from watcher.errors import ConfigError


@pytest.mark.parametrize(
    ("contexts", "found"),
    [
        ([], []),
        (["", ""], ["", ""]),
        (["a", "a"], ["", ""]),
        (["a", "b"], ["a", "b"]),
        (["a", "", "a"], ["a", "current", "a"]),
    ],
)
def test_each_configuration_has_its_own_context(contexts: list[str], found: list[str]) -> None:
    """One for all is the default; beside one that is named, a blank one is the kubeconfig's current context."""
    parts = [f"deploy: {{kubeContext: '{name}'}}" if name else "kind: Config" for name in contexts]
    texts = documents("---\n".join(f"{part}\n" for part in parts), "x") if parts else ()
    assert contexts_of(texts, lambda: "current") == found


def placed(*words: str) -> list[tuple[str, str]]:
    entries = parse_targets(list(_with_context_words(list(words))), namespace="", addresses=())
    return [(entry.context, entry.name) for entry in entries]


def test_a_context_holds_for_the_targets_after_it() -> None:
    """Until the next one; the same target in two contexts is two entries."""
    assert placed("svc/a", "1", "--context", "x", "svc/a", "1", "svc/b", "2", "--context=y", "svc/a", "1") == [
        ("", "a"),
        ("x", "a"),
        ("x", "b"),
        ("y", "a"),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--context", "x"), "no target follows --context x, which applies to the targets after it"),
        (("svc/a", "1", "--context", "x"), "no target follows --context x"),
        (("--context", "x", "--context", "y", "svc/a", "1"), "no target follows --context x"),
        (("svc/a", "--context", "x", "1"), "service/a has no port"),
        (("--context", "x", "1"), "no target stands before it"),
    ],
)
def test_a_context_in_the_wrong_place(words: tuple[str, ...], said: str) -> None:
    """A target and its port stay together."""
    with pytest.raises(ConfigError, match=said):
        placed(*words)


def test_words_behind_two_dashes_are_arguments() -> None:
    """And an option without a value is left to be refused."""
    assert list(_with_context_words(["--", "--context", "x"])) == ["--", "--context", "x"]
    assert list(_with_context_words(["--context"])) == ["--context"]


def test_a_forward_of_portside_yaml_names_its_context() -> None:
    """A container has none."""
    head = "apiVersion: portside/v1\nforwards:\n"
    [entry] = parse_settings(f"{head}- {{resourceType: svc, resourceName: a, port: 1, context: x}}\n", "p").entries
    assert entry.context == "x"
    with pytest.raises(ConfigError, match="context: a container is in no cluster"):
        parse_settings(f"{head}- {{resourceType: container, resourceName: a, port: 1, context: x}}\n", "p")
