"""The copies that make `diagnose` see what `dev` would: what is replaced in them, and when there are any."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from watcher.config import project_files
from watcher.config.diagnose import readable_for_diagnose
from watcher.config.entries import Project
from watcher.config.skaffold_yaml import load_configuration
from watcher.errors import ConfigError

HEAD = "apiVersion: skaffold/v4beta13\nkind: Config\n"
ACTIVATED = f"""\
{HEAD}.cmd: &c run
metadata: {{name: root}}
requires:
- path: ../m
profiles:
- name: a
  activation:
  - command: dev
  - {{"command":"!dev", env: A=b}}
  - command: &x !!str dev
  - command: *x
  - command: *c
  - command: >-
      dev|run
    kubeContext: here
"""


async def test_the_copies_hold_for_diagnose_what_holds_for_dev(tmp_path: Path) -> None:
    """Conditions on the command and the paths of `requires` are replaced, and nothing else; lines stay lines."""
    for name in ("p", "m"):
        (tmp_path / name).mkdir()
    (tmp_path / "p/skaffold.yaml").write_text(ACTIVATED)
    module = HEAD + "requires: [{path: ../p}, {path: gone.yaml}, {path: broken.yaml}]\n"
    (tmp_path / "m/skaffold.yaml").write_text(module)
    (tmp_path / "m/broken.yaml").write_text("a: [")
    read = project_files.with_required(project_files.read_leniently(str(tmp_path / "p/skaffold.yaml")))
    with readable_for_diagnose(read, Project(filename=read[0].name)) as readable:
        copies = {original: copy for copy, original in readable.originals.items()}
        root, other = (Path(copies[file.name]) for file in read[:2])
        copied = root.read_text()
        assert copied == (
            ACTIVATED.replace("- path: ../m", f'- path: "{other}"')
            .replace("- command: dev", '- command: "diagnose"')
            .replace('"!dev"', '"!diagnose"')
            .replace("&x !!str dev", '&x !!str "diagnose"')
            .replace("*x", '"diagnose"')
            .replace(">-\n      dev|run\n", '"diagnose"\n\n')
        )
        assert other.read_text() == module.replace("../p", f'"{root}"').replace(
            "gone.yaml", f'"{tmp_path}/m/gone.yaml"'
        ).replace("broken.yaml", f'"{tmp_path}/m/broken.yaml"')
        assert readable.in_originals_terms(f"x {root}: y") == f"x {tmp_path}/p/skaffold.yaml: y"
    assert not root.exists()


async def test_copies_are_made_only_where_they_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module beside the working directory's own file is found by Skaffold itself."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.yaml").write_text(HEAD)
    (tmp_path / "skaffold.yaml").write_text(HEAD + "requires: [{path: m.yaml}]\n")
    read = project_files.with_required(project_files.read_leniently("skaffold.yaml"))
    with readable_for_diagnose(read, Project()) as readable:
        assert readable.name == "skaffold.yaml"
    monkeypatch.chdir("/")
    read = project_files.with_required(project_files.read_leniently(str(tmp_path / "skaffold.yaml")))
    with readable_for_diagnose(read, Project(filename=read[0].name)) as readable:
        assert set(readable.originals.values()) == {file.name for file in read}


async def test_no_room_for_copies_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the file and what the system says."""
    (tmp_path / "skaffold.yaml").write_text(ACTIVATED)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"no temporary folder for copies of .*skaffold.yaml: No such file"):
        await load_configuration(Project(filename=str(tmp_path / "skaffold.yaml"), binary="true"), os.environ)
