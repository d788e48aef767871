"""The words of `portside forward`: kubectl's syntax, several targets, and what is said of a word that is wrong."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarders.spec import PortPolicy
from watcher.config.targets import parse_targets
from watcher.errors import ConfigError, UsageError

DEMANDED, PREFERRED, AUTOMATIC, SYSTEM = (
    PortPolicy.DEMANDED,
    PortPolicy.PREFERRED,
    PortPolicy.AUTOMATIC,
    PortPolicy.SYSTEM,
)


def parsed(words: str) -> list[tuple[str, str, int | str, PortPolicy, int]]:
    entries = parse_targets(words.split(), namespace="shop", addresses=("127.0.0.1",))
    return [(e.kind, e.name, e.port, e.local_port.policy, e.local_port.number) for e in entries]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("svc/web 8080:80", [("service", "web", 80, DEMANDED, 8080)]),
        ("svc/web 80", [("service", "web", 80, PREFERRED, 80)]),
        ("svc/web http", [("service", "web", "http", AUTOMATIC, 0)]),
        ("svc/web :80", [("service", "web", 80, SYSTEM, 0)]),
        ("svc/web 0:80", [("service", "web", 80, SYSTEM, 0)]),
        ("svc/web :http", [("service", "web", "http", SYSTEM, 0)]),
        ("svc/web 8080:http", [("service", "web", "http", DEMANDED, 8080)]),
        ("svc/web http 81", [("service", "web", "http", AUTOMATIC, 0), ("service", "web", 81, PREFERRED, 81)]),
        ("web-6c7d 5000", [("pod", "web-6c7d", 5000, PREFERRED, 5000)]),
        ("a 1 b 2", [("pod", "a", 1, PREFERRED, 1), ("pod", "b", 2, PREFERRED, 2)]),
        ("svc/web 80 web-0 81", [("service", "web", 80, PREFERRED, 80), ("pod", "web-0", 81, PREFERRED, 81)]),
        ("svc/a 80 svc/b 80", [("service", "a", 80, PREFERRED, 80), ("service", "b", 80, PREFERRED, 80)]),
        ("svc/a 1:80 2:80", [("service", "a", 80, DEMANDED, 1), ("service", "a", 80, DEMANDED, 2)]),
        ("svc/a 80 80", [("service", "a", 80, PREFERRED, 80)]),
    ],
)
def test_each_port_of_each_target_is_an_entry(words: str, expected: list[object]) -> None:
    """A word with a slash is a target, digits and colons are ports, another word is a pod or a port's name."""
    assert parsed(words) == expected


@pytest.mark.parametrize(
    ("resource_type", "kind"),
    [
        ("svc", "service"),
        ("Services", "service"),
        ("po", "pod"),
        ("PODS", "pod"),
        ("deploy", "deployment"),
        ("deployment.apps", "deployment"),
        ("deployments.v1.apps", "deployment"),
        ("sts", "statefulset"),
        ("ds", "daemonset"),
        ("rs", "replicaset"),
        ("rc", "replicationcontroller"),
        ("jobs.batch", "job"),
        ("cj", "cronjob"),
    ],
)
def test_types_are_spelt_as_for_kubectl(resource_type: str, kind: str) -> None:
    """Singular, plural, short name, any case, with or without the API group."""
    assert parsed(f"{resource_type}/web 80")[0][0] == kind


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("8080 svc/web", "'8080' is a port, but no target stands before it"),
        ("svc/web", "service/web has no port"),
        ("svc/web svc/db 80", "service/web has no port"),
        ("svc/web 80 web-0", "pod/web-0 has no port"),
        ("widget/web 80", "'widget/web': 'widget' is no type"),
        ("deployment.batch/web 80", "'deployment.batch' is no type"),
        ("container/web 80", "'container' is no type"),
        ("svc/ 80", "'svc/': expected TYPE/NAME"),
        ("/web 80", "'' is no type"),
        ("a/b/c 80", "'a/b' is no type"),
        ("svc/We_b 80", "no Kubernetes object can have the name 'We_b'"),
        ("svc/.. 80", "no Kubernetes object can have the name '..'"),
        ("svc/web:80", "two words: svc/web 80"),
        ("svc/web 0", "a port is a number from 1 to 65535, not 0"),
        ("svc/web 65536", "not 65536"),
        ("svc/web 70000:80", "not 70000"),
        (f"svc/web {'9' * 5000}", "a port is a number"),
        ("svc/web ²", "a port is a number"),
        ("svc/web x:80", "the local port 'x' is not a number"),
        ("svc/web 80:", "expected [LOCAL:]REMOTE"),
        ("svc/web :", "expected [LOCAL:]REMOTE"),
        ("svc/web 1:2:3", "expected [LOCAL:]REMOTE"),
        ("svc/web HTTP", "'HTTP' is neither a number nor a port's name"),
        ("svc/web -1", "'-1' is neither"),
    ],
)
def test_a_wrong_word_is_named(words: str, said: str) -> None:
    """Every mistake is one line that names the word, and a usage error."""
    with pytest.raises(UsageError) as raised:
        parsed(words)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_namespace_and_addresses_are_those_given() -> None:
    """What the options say holds for every entry, and the entry says where it stands."""
    [entry] = parse_targets(["svc/web", "80"], namespace="shop", addresses=("::1", "10.0.0.1"))
    assert (entry.source, entry.namespace, entry.addresses) == ("direct", "shop", ("::1", "10.0.0.1"))
    assert entry.origin == "argument '80'"


words = st.lists(st.one_of(st.text(max_size=12), st.from_regex(r"[a-z]{0,3}/?[a-z]{0,3}:?[0-9]{0,6}", fullmatch=True)))


@settings(deadline=None)  # two shared cores: time says nothing here
@given(words)
def test_any_words_are_entries_or_one_line(given_words: list[str]) -> None:
    """Whatever is typed, the outcome is entries with ports that exist, or a ConfigError."""
    with suppress(ConfigError):
        for entry in parse_targets(given_words, namespace="", addresses=()):
            assert isinstance(entry.port, str) or 1 <= entry.port <= 65535
            assert bool(entry.local_port.number) == (entry.local_port.policy in {DEMANDED, PREFERRED})
