"""Forwards beyond loopback get one warning; forwards on loopback get none."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.pods import Port
from fixtures.embedded.web import web
from tests.plan.made import SERVICES, WEB, planned
from tests.support.process import portside
from watcher.board.addresses import is_loopback, warn_beyond_loopback

SAID = "can be reached from other machines"


@pytest.mark.parametrize(
    ("address", "alone"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("my-host", False),
    ],
)
def test_who_can_connect(address: str, alone: bool) -> None:  # noqa: FBT001 - a row
    """Loopback networks are private to this machine; any host name other than localhost is not."""
    assert is_loopback(address) is alone


def test_once_for_each_address(caplog: pytest.LogCaptureFixture) -> None:
    """Each address is reported once, however many plans and forwards there are."""
    warned: set[str] = set()
    with caplog.at_level(logging.WARNING, "portside.board"):
        for addresses in (("127.0.0.1",), ("127.0.0.1", "10.0.0.1"), ("10.0.0.1",), ("10.0.0.1", "::")):
            warn_beyond_loopback(planned(WEB, modes=SERVICES, addresses=addresses), warned)
    assert [record.args for record in caplog.records] == [("10.0.0.1",), ("::",)]


async def test_the_program_says_it(tmp_path: Path) -> None:
    """The program prints the warning on stderr without -v."""
    async with EmbeddedCluster.open() as cluster:
        await cluster.deployment("web", [Port(8080, web("page"), "http")])
        kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig")
        environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
        words = ("forward", f"--kubeconfig={kubeconfig}", "deployment/web", ":8080", ":8080")
        async with portside(*words, "--address=0.0.0.0,127.0.0.1", environment=environment) as running:
            await running.ready("web", localAddress="0.0.0.0")
            assert await running.end() == 0
        assert running.stderr.count(SAID) == 1
        assert "forwards at 0.0.0.0" in running.stderr
