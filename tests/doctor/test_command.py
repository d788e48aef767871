"""`portside doctor` as users run it: text, JSON, colours and exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path

import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.apps import standard
from tests.cli.made import Place, closed_port, kubeconfig
from tests.support.process import PORTSIDE

CHECKS = [
    "kubeconfig",
    "proxy",
    "server",
    "permissions",
    "transport",
    "skaffold",
    "skaffold api",
    "configuration",
    "ports",
    "ipv6",
    "open files",
    "surroundings",
    "portsides",
]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.environment["KUBECONFIG"] = place.write("kubeconfig", kubeconfig(closed_port()))
    return place


async def test_all_is_well(tmp_path: Path) -> None:
    """Every check has findings, in a fixed order, and the exit code is 0."""
    place = Place(tmp_path)
    async with EmbeddedCluster.open() as cluster:
        await cluster.pod("web", standard("hello"))
        place.environment["KUBECONFIG"] = str(cluster.kubeconfig(tmp_path / "kubeconfig"))
        done = await trio.to_thread.run_sync(lambda: place.portside("doctor", "--output", "json"))
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert list(dict.fromkeys(finding["check"] for finding in findings)) == CHECKS
    assert all(finding.keys() == {"kind", "check", "level", "found", "remedy"} for finding in findings)
    assert {finding["kind"] for finding in findings} == {"finding"}
    assert all(finding["level"] == "ok" for finding in findings if finding["check"] in CHECKS[:5])


def test_a_server_that_is_away(place: Place) -> None:
    """An error gives exit code 1; finding and remedy have aligned lines without escape sequences."""
    done = place.portside("doctor")
    assert (done.returncode, done.stderr) == (1, "")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    (server,) = [line for line in lines if line.startswith("error    server         ")]
    assert "cannot be reached: connection refused" in server
    assert lines[lines.index(server) + 1].startswith(" " * 24 + "→ ")
    assert "note     transport      not checked: an API server that answers is needed for it" in lines


def test_a_broken_kubeconfig_is_a_finding(place: Place) -> None:
    """A broken kubeconfig, which is exit code 2 elsewhere, is a finding here."""
    place.write("kubeconfig", "clusters: [")
    done = place.portside("doctor")
    assert done.returncode == 1
    assert done.stdout.startswith("error    kubeconfig     kubeconfig ")


def test_wrong_usage_stays_wrong_usage(place: Place) -> None:
    """Wrong usage is exit code 2 and one line, before any check."""
    done = place.portside("doctor", "--skaffold", "ftp://x")
    assert (done.returncode, done.stdout) == (2, "")
    assert "ftp://x" in done.stderr


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_on_a_terminal(place: Place, environment: dict[str, str], *, coloured: bool) -> None:
    """Levels are coloured on a terminal, unless NO_COLOR is set."""
    ours, theirs = os.openpty()
    words = [PORTSIDE, "doctor"]
    process = subprocess.Popen(words, stdout=theirs, cwd=place.folder, env=place.environment | environment)
    os.close(theirs)
    printed = b""
    with contextlib.suppress(OSError):  # Linux' way to say that the other side of a terminal is closed
        while data := os.read(ours, 65536):
            printed += data
    os.close(ours)
    assert process.wait(timeout=60) == 1
    assert (b"\x1b[31merror" in printed) is coloured
    assert b"\x1b" not in printed or coloured


def test_nothing_from_outside_steers_the_terminal(place: Place) -> None:
    """Control characters from a file do not reach the terminal."""
    place.write("portside.yaml", 'apiVersion: "portside/\\x1b[31mv1"\n')
    done = place.portside("doctor")
    assert "\x1b" not in done.stdout
    assert "portside.yaml" in done.stdout
