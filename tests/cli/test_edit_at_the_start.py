"""An edit of the project's files while portside reads them for the first time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from tests.bulkheads.ship import options_of
from tests.cli.made import PATIENCE
from watcher.cli.facts_from_options import ConfiguredFacts
from watcher.config.entries import Project


async def test_an_edit_while_the_project_is_first_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skaffold has printed the old configuration when the file is saved: it is read again as soon as it is followed."""

    def configuration(*names: str) -> str:
        entries = [{"resourceType": "service", "resourceName": name, "port": 8080} for name in names]
        return json.dumps({"apiVersion": "skaffold/v4beta11", "kind": "Config", "portForward": entries})

    monkeypatch.chdir(tmp_path)
    for name, names in (("skaffold.yaml", ("one",)), ("draft.yaml", ("one", "two"))):
        (tmp_path / name).write_text(configuration(*names))
    skaffold = tmp_path / "bin" / "skaffold"
    skaffold.parent.mkdir()
    save = "if [ -e draft.yaml ]; then cat draft.yaml >skaffold.yaml; rm draft.yaml; fi"
    skaffold.write_text(f"#!/bin/sh\ncat skaffold.yaml\n{save}\n")
    skaffold.chmod(0o755)
    project = Project(filename="skaffold.yaml", binary="skaffold")
    options, _ = options_of("--skaffold=http://127.0.0.1:1", "--port-forward=user")
    environ = {"PATH": f"{skaffold.parent}:/bin:/usr/bin", "HOME": str(tmp_path)}
    configured = await ConfiguredFacts.load(options, "dev", project, environ)
    assert [entry.name for entry in configured.facts.entries] == ["one"]
    changed = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(configured.run, changed.set)
        with trio.fail_after(PATIENCE):
            await changed.wait()
        assert [entry.name for entry in configured.facts.entries] == ["one", "two"]
        nursery.cancel_scope.cancel()
