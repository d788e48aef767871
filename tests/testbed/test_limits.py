"""Trouble in one test does not affect the next: time limits, signals, leftovers, tried on a small suite."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFTEST = """
from tests.conftest import pytest_addoption, pytest_collection_modifyitems, pytest_configure
from tests.support import limits
limits.GRACE = 0.5
"""
SETTINGS = """
[pytest]
trio_mode = true
timeout = 0.5
filterwarnings = error
markers =
    long: long
    cluster: cluster
    skaffold: skaffold
"""
HANGING = """
import contextlib, gc, socket, threading
import pytest, trio

left_open = []

@pytest.fixture
async def hanging():
    await trio.sleep_forever()

async def test_waits():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        left_open.append(await trio.open_tcp_listeners(0, host="127.0.0.1"))

async def test_waits_on_a_clock_that_jumps(autojump_clock):
    while True:
        await trio.sleep(1)

async def test_waits_and_asserts():
    with contextlib.suppress(trio.Cancelled):
        await trio.sleep_forever()

async def test_waits_in_a_fixture(hanging):
    pass

async def test_waits_under_a_shield():
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()

async def test_never_gives_up_its_turn():
    while True:
        pass

def test_waits_without_trio():
    threading.Event().wait()

async def test_a_good_neighbour():
    gc.collect()
    await trio.sleep(0)

@pytest.mark.timeout(30)
async def test_takes_longer_rightly():
    await trio.sleep(0.7)
"""
FAILING = """
import gc, socket

def test_fails_and_leaves_sockets():
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    assert not sockets

def test_fails_and_leaves_a_generator():
    def ask():
        try:
            yield
        finally:
            raise OSError("left behind")
    asked = ask()
    next(asked)
    assert not asked

def test_a_good_neighbour():
    gc.collect()
"""
SIGNALS = """
import signal, subprocess, sys

def test_children_have_the_usual_signals():
    code = "import signal; print([signal.getsignal(n) is signal.SIG_IGN for n in (signal.SIGINT, signal.SIGHUP)])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[False, False]\\n"
"""


def outcomes(folder: Path, tests: str, *, ignoring: tuple[signal.Signals, ...] = ()) -> dict[str, str]:
    """The outcome of each test of a suite that uses our conftest, and whether the time limit ended it."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text(SETTINGS)
    (folder / "test_suite.py").write_text(tests)
    ignored = "".join(f"signal.signal({number.value}, signal.SIG_IGN); " for number in ignoring)
    start = f"import signal, sys; {ignored}import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    words = [sys.executable, "-c", start, "-v", "-rA", "--tb=short", "-p", "no:cacheprovider", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "300"}
    environment.pop("CI", None)
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=100)
    said = done.stdout
    found = dict(re.findall(r"::(test_\w+) (PASSED|FAILED|ERROR)", said))
    late = re.findall(r"^(?:FAILED|ERROR) \S+::(test_\w+) .*(?:time limit|Timeout)", said, re.MULTILINE)
    assert found, said
    return found | dict.fromkeys(late, "LATE")


def test_a_test_that_hangs_is_ended_by_name_and_its_neighbours_go_on(tmp_path: Path) -> None:
    """In whatever way it hangs; a test with a higher limit may take longer."""
    found = outcomes(tmp_path, HANGING)
    good = {name: found.pop(name) for name in ("test_a_good_neighbour", "test_takes_longer_rightly")}
    assert good == dict.fromkeys(good, "PASSED")
    assert len(found) == 7
    assert found == dict.fromkeys(found, "LATE")


def test_what_a_failed_test_leaves_behind_does_not_fail_the_next(tmp_path: Path) -> None:
    """Open sockets, and generators that end badly."""
    assert outcomes(tmp_path, FAILING) == {
        "test_fails_and_leaves_sockets": "FAILED",
        "test_fails_and_leaves_a_generator": "FAILED",
        "test_a_good_neighbour": "PASSED",
    }


@pytest.mark.parametrize("ignoring", [(), (signal.SIGINT, signal.SIGHUP)])
def test_tests_children_do_not_inherit_ignored_signals(tmp_path: Path, ignoring: tuple[signal.Signals, ...]) -> None:
    """Also under nohup and in a script's background job."""
    assert set(outcomes(tmp_path, SIGNALS, ignoring=ignoring).values()) == {"PASSED"}
