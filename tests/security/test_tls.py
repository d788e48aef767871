"""portside verifies the server by the kubeconfig's authority and name; skipping that is a warning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.pods import Port
from fixtures.embedded.web import web
from tests.support.process import portside

Edit = Callable[[dict[str, Any]], object]


def edited(path: Path, edit: Edit) -> Path:
    config = json.loads(path.read_text())
    edit(config["clusters"][0]["cluster"])
    path.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda cluster: cluster.pop("certificate-authority-data"), "certificate"),
        (lambda cluster: cluster.update({"tls-server-name": "elsewhere.example"}), "elsewhere.example"),
    ],
    ids=["another authority", "another name"],
)
async def test_a_server_that_cannot_prove_who_it_is(tmp_path: Path, edit: Edit, said: str) -> None:
    """A server that fails verification gets no request, so no credentials; the reason is shown."""
    async with EmbeddedCluster.open() as cluster:
        await cluster.deployment("web", [Port(8080, web("page"), "http")])
        kubeconfig = edited(cluster.kubeconfig(tmp_path / "kubeconfig"), edit)
        words = ("forward", f"--kubeconfig={kubeconfig}", "--address=127.0.0.1", "deployment/web", ":8080")
        async with portside(*words, environment={"XDG_RUNTIME_DIR": str(tmp_path)}) as running:
            await running.wait_for(lambda _: said in f"{running.stderr}{running.records}")
            assert "certificate" in f"{running.stderr}{running.records}"
            assert not [record for record in running.records if record.get("state") == "ready"]
            assert await running.end() == 0
        assert cluster.sessions_opened == 0


async def test_anybody_is_believed_only_aloud(tmp_path: Path) -> None:
    """insecure-skip-tls-verify works, and is one warning."""
    async with EmbeddedCluster.open() as cluster:
        await cluster.deployment("web", [Port(8080, web("page"), "http")])

        def edit(entry: dict[str, Any]) -> None:
            del entry["certificate-authority-data"]
            entry["insecure-skip-tls-verify"] = True

        kubeconfig = edited(cluster.kubeconfig(tmp_path / "kubeconfig"), edit)
        words = ("forward", f"--kubeconfig={kubeconfig}", "--address=127.0.0.1", "deployment/web", ":8080")
        async with portside(*words, environment={"XDG_RUNTIME_DIR": str(tmp_path)}) as running:
            await running.ready("web")
            assert await running.end() == 0
        assert running.stderr.count("insecure-skip-tls-verify") == 1
