"""The child Skaffold with real processes: exit codes, each signal once, and a life of its own."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from forwarders.system.processes import send_signal_to_tree
from tests.skaffold.children import SKAFFOLD, portside
from watcher.errors import UsageError
from watcher.skaffold.process import SkaffoldProcess, check_found

REACHED = "portside: SIGINT reached the whole process group, Skaffold has it already"
CHILD = (sys.executable, "-c", SKAFFOLD)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("pass", 0),
        ("raise SystemExit(7)", 7),
        ("import os; os._exit(127)", 127),
        ("import os; os.kill(os.getpid(), 9)", 137),
        ("import os; os.kill(os.getpid(), 15)", 143),
    ],
)
async def test_exit_code(program: str, code: int) -> None:
    """Skaffold's own code is returned, 128+n where a signal ended it."""
    assert await SkaffoldProcess([sys.executable, "-c", program]).run() == code


async def test_not_found() -> None:
    """A missing binary is wrong usage, with a remedy."""
    with pytest.raises(UsageError, match="was not found; install Skaffold"):
        await SkaffoldProcess(["skaffold-that-is-not-there", "dev"]).run()


def test_what_is_not_there_is_known_before_anything_else() -> None:
    """On PATH or by its path."""
    check_found(sys.executable, "")
    check_found(Path(sys.executable).name, str(Path(sys.executable).parent))
    with pytest.raises(UsageError, match="was not found; install Skaffold"):
        check_found("skaffold-that-is-not-there", "/usr/bin")


async def line_from(stream: trio.abc.ReceiveStream) -> bytes:
    found = b""
    while not found.endswith(b"\n"):
        found += await stream.receive_some()
    return found


async def test_a_signal_reaches_what_a_wrapper_started() -> None:
    """A shell waits for its child and passes nothing on."""
    inner = "import signal; signal.signal(2, lambda *_: exit(7)); print(1, flush=True); signal.pause()"
    script = f"{sys.executable} -c '{inner}'; echo $?"
    started = await trio.lowlevel.open_process(["/bin/sh", "-c", f"trap : INT; {script}"], stdout=subprocess.PIPE)
    assert started.stdout is not None
    assert await line_from(started.stdout) == b"1\n"
    send_signal_to_tree(started, signal.SIGINT)
    assert await line_from(started.stdout) == b"7\n"
    assert await started.wait() == 0


async def test_not_executable(tmp_path: Path) -> None:
    """Something that cannot be executed is wrong usage as well."""
    with pytest.raises(UsageError, match="cannot be started"):
        await SkaffoldProcess([str(tmp_path), "dev"]).run()


async def test_same_group_and_standard_output() -> None:
    """The child shares our process group and our standard output, and nothing of the group is left in the end."""
    async with portside(*CHILD) as run:
        _, group = await run.ready()
        assert group == run.process.pid
        run.kill(signal.SIGTERM)
        await run.until("portside: code 3")
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
async def test_a_signal_to_us_alone_is_passed_on(number: signal.Signals) -> None:
    """`kill PID` of portside reaches Skaffold, once, and is known at once as a wish to end."""
    async with portside(*CHILD) as run:
        await run.ready()
        run.kill(number)
        await run.until("portside: ending")
        await run.until(f"skaffold: {number.name}")
        if number == signal.SIGINT:
            run.kill(signal.SIGTERM)
        await run.until("portside: code 3")
    assert run.count(f"skaffold: {number.name}") == 1


async def test_a_signal_to_the_group_is_not_passed_on() -> None:
    """What the whole group got comes to Skaffold once each time, also the second time."""
    async with portside(*CHILD) as run:
        _, group = await run.ready()
        for time in (1, 2):
            os.killpg(group, signal.SIGINT)
            await run.heard(REACHED, time)
            await run.heard("skaffold: SIGINT", time)
        run.kill(signal.SIGTERM)
        await run.until("portside: code 3")
    assert run.count("skaffold: SIGINT") == 2
    assert run.count("portside: passing SIGINT on to Skaffold") == 0


async def test_ctrl_c_on_a_terminal() -> None:
    """A Ctrl-C typed on the shared terminal comes to Skaffold once; a `kill -INT` of portside there as well."""
    controller, terminal = pty.openpty()
    try:
        async with portside(*CHILD, terminal=terminal) as run:
            await run.ready()
            os.write(controller, b"\x03")
            await run.heard(REACHED, 1)
            await run.heard("skaffold: SIGINT", 1)
            run.kill(signal.SIGINT)
            await run.heard("portside: passing SIGINT on to Skaffold", 1)
            await run.heard("skaffold: SIGINT", 2)
            run.kill(signal.SIGTERM)
            await run.until("portside: code 3")
        assert run.count("skaffold: SIGINT") == 2
    finally:
        os.close(controller)
        os.close(terminal)


async def test_skaffold_outlives_our_crash() -> None:
    """When portside fails, Skaffold lives on, untouched."""
    async with portside(*CHILD, how="crash") as run:
        pid, _ = await run.ready()
        assert await run.process.wait() == 1
        os.kill(pid, signal.SIGTERM)
        assert await run.until("skaffold: ") == "skaffold: SIGTERM"
    assert run.count("portside: ending") == 0


async def test_skaffold_outlives_our_death() -> None:
    """Even a killed portside leaves Skaffold as it is."""
    async with portside(*CHILD) as run:
        pid, _ = await run.ready()
        run.kill(signal.SIGKILL)
        assert await run.process.wait() == -signal.SIGKILL
        os.kill(pid, signal.SIGTERM)
        assert await run.until("skaffold: ") == "skaffold: SIGTERM"
