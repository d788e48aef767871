"""Random projects: portside reads what `skaffold dev` would forward, or refuses with a true reason."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from fixtures.referee.referee import Question, Referee
from tests.referee.asking import Outcome, outcome
from tests.referee.projects import ENVIRON, Call, made_call

pytestmark = pytest.mark.skaffold

LONG = pytest.param(2000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])


def asked(call: Call, top: Path, environ: dict[str, str]) -> Question:
    return Question(
        dir=str(top / call.cwd),
        command=call.command,
        file=call.filename.replace("TOP", str(top)),
        profiles=call.profiles,
        modules=call.modules,
        kube_context=call.kube_context,
        auto_activation=call.auto_activation,
        propagate=call.propagate,
        env=environ | ENVIRON,
    )


def outcomes(
    count: int, version: str, referee: Referee, binary: str | None, folder: Path, environ: dict[str, str]
) -> Counter[Outcome]:
    """The results of `count` projects; the seed is the project's number."""
    found: Counter[Outcome] = Counter()
    for seed in range(count):
        call, top = made_call(Random(seed), version), folder / f"project-{seed}"
        call.write(top)
        os.chdir(top / call.cwd)
        try:
            found[outcome(referee, asked(call, top, environ), binary)] += 1
        except AssertionError as error:
            raise AssertionError(f"project {seed}, left in {top}: {error}") from error
        os.chdir(folder)
        shutil.rmtree(top)
    print(count, {one.value: number for one, number in found.items()})  # noqa: T201 - for the closing note of a long run
    return found


@pytest.mark.parametrize("count", [100, LONG])
def test_both_say_the_same(
    count: int, version: str, referee: Referee, skaffold: str, tmp_path: Path, environ: dict[str, str]
) -> None:
    """With the binary portside refuses nothing that Skaffold reads, and most of these projects are read."""
    found = outcomes(count, version, referee, skaffold, tmp_path, environ)
    assert found[Outcome.REFUSED] == 0
    assert found[Outcome.AGREE] > count // 2


@pytest.mark.parametrize("count", [100, LONG])
def test_without_the_binary_nothing_is_guessed(
    count: int, version: str, referee: Referee, tmp_path: Path, environ: dict[str, str]
) -> None:
    """What portside reads alone is what Skaffold would read. The rest needs the binary, and the message names it."""
    found = outcomes(count, version, referee, None, tmp_path, environ)
    assert found[Outcome.AGREE] > count // 2
