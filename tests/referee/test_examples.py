"""Skaffold's own examples, read as Skaffold reads them, from their folder and from its parent."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fixtures.cluster.binaries import skaffold as skaffold_module
from fixtures.referee.referee import Referee
from tests.referee.asking import outcome, question_in

pytestmark = pytest.mark.skaffold


def examples(version: str) -> list[Path]:
    """Every skaffold.yaml in the module of this Skaffold, which Go has downloaded."""
    module = skaffold_module(version)
    found = subprocess.run(
        ["go", "list", "-m", "-f", "{{.Dir}}", module.main_module],
        cwd=module.source,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(Path(found.stdout.strip()).rglob("skaffold*.y*ml"))


def _decides(path: Path) -> bool:
    return any(word in path.read_text() for word in ("portForward:", "requires:", "activation:"))


@pytest.mark.parametrize("everything", [False, pytest.param(True, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_an_example_is_read_as_skaffold_reads_it(
    version: str, referee: Referee, skaffold: str, environ: dict[str, str], *, everything: bool
) -> None:
    """Examples with entries, modules or activations; with --long all of them."""
    chosen = [path for path in examples(version) if everything or _decides(path)]
    assert len(chosen) > 20
    for path in chosen:
        for folder in (path.parent, path.parent.parent):
            os.chdir(folder)
            question = question_in(str(folder), environ, file=str(path.relative_to(folder)))
            try:
                outcome(referee, question, skaffold)
            except AssertionError as error:
                raise AssertionError(f"{path} from {folder}: {error}") from error
