"""No load holds the event loop for long, measured by an instrument of trio, beside an idle loop in the same run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from fixtures.bench.holds import edit_project, project
from fixtures.bench.sides import port_of
from fixtures.cluster.bed import Bed
from fixtures.loop_holds import holds_of, read
from tests.load.connections import Kept
from tests.support.probe import get

# Seconds that one step may compute. What the machine adds to it is not portside's.
LONGEST = 0.020
# Seconds after a load in which its last changes are planned.
AFTER = 1.0


def test_the_instrument_sees_a_step_that_holds_the_loop(tmp_path: Path) -> None:
    """A program that computes for 50 ms in one step, and an idle one that does not."""
    code = (
        "import sys, time, trio\n"
        "from fixtures.loop_holds import run_measured\n"
        "async def main():\n"
        "    await trio.sleep(0.2)\n"
        "    until = time.thread_time() + 0.05\n"
        "    while time.thread_time() < until: pass\n"
        "    await trio.sleep(0.1)\n"
        "run_measured(main, sys.argv[1])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "held")], check=True, env=environment, timeout=60)
    held = read(tmp_path / "held", 0, float("inf"))
    assert held.step_processor >= 0.05
    assert held.step >= 0.05
    assert held.late >= 0.03
    assert held.step_task == "main"


@pytest.mark.long  # processor time is a figure of the machine: not in CI
@pytest.mark.cluster
@pytest.mark.parametrize("count", [50, 1600])
def test_open_connections(bed: Bed, web: str, tmp_path: Path, count: int) -> None:
    """So many open, each with its answer, and new ones beside them."""

    async def load(port: int) -> None:
        with Kept() as kept:
            await kept.open(port, count)
            await kept.ask_all()
            for _ in range(10):
                assert (await get(port))[0] == 200

    words = ["forward", "-n", web, "svc/web", ":8080"]
    with holds_of(words, bed.environment(), tmp_path) as reader:
        port = port_of(reader.process)
        began = time.monotonic()
        trio.run(load, port)
        ended = time.monotonic()
    assert reader.between(began, ended)[0].step_processor < LONGEST


@pytest.mark.long
@pytest.mark.cluster
def test_an_edit_of_a_large_project(bed: Bed, web: str, tmp_path: Path) -> None:
    """300 KiB of artifacts: read in a thread, which gives way to the loop."""
    words = ["watch", "--cluster", "-n", web, "--selector", "app=web", "--port-forward=user", "-f", "skaffold.yaml"]
    (tmp_path / "skaffold.yaml").write_text(project(1, "web"))
    with holds_of(words, bed.environment(), tmp_path) as reader:
        began = time.monotonic()
        edit_project(reader.process, tmp_path, "web")
        ended = time.monotonic()
    assert reader.between(began, ended)[0].step_processor < LONGEST
