"""How `portside run` ends: with Skaffold and its exit code, its ports free at once, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.skaffold_e2e.developing import developing, ending, forwarding, skaffold_pid
from tests.support.process import in_session
from tests.support.skaffold import Project

pytestmark = pytest.mark.skaffold


async def test_ctrl_c_on_a_terminal(project: Project) -> None:
    """The ports are free at once; Skaffold cleans up once and portside ends with it, with its code."""
    ours, theirs = os.openpty()
    try:
        async with developing(project, terminal=theirs) as running:
            await forwarding(running)
            async with ending(running, 0):
                os.write(ours, b"\x03")
            assert running.stderr.count("Cleaning up...") == 1
    finally:
        os.close(ours)
        os.close(theirs)
    assert deployments(project) == ""


async def test_sigint_to_the_process_group(project: Project) -> None:
    """A Ctrl-C without a terminal, as a script's `kill -INT -PGID` sends it."""
    async with developing(project) as running:
        await forwarding(running)
        async with ending(running, 0):
            running.interrupt()


# Skaffold catches SIGTERM and cleans up (cmd/skaffold/app/skaffold.go); SIGHUP ends it as any program.
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGHUP, 128 + signal.SIGHUP)])
async def test_a_signal_to_portside_alone(project: Project, number: int, code: int) -> None:
    """portside passes it on: Skaffold ends as it does without portside."""
    async with developing(project) as running:
        await forwarding(running)
        async with ending(running, code, orphans=number == signal.SIGHUP):
            running.process.send_signal(number)


async def test_skaffold_is_killed(project: Project) -> None:
    """The exit code is 128 + SIGKILL, as in a shell; the ports are free."""
    async with developing(project) as running:
        await forwarding(running)
        async with ending(running, 128 + signal.SIGKILL, orphans=True):
            os.kill(skaffold_pid(running), signal.SIGKILL)


async def test_the_first_build_fails(project: Project) -> None:
    """Skaffold ends with 1, and so does portside."""
    project.edit("skaffold.yaml", 'python3 "$PORTSIDE_TESTBED_BUILD_IMAGE" app content.txt', "false")
    async with developing(project) as running:
        assert await running.wait(60) == 1
        assert "Traceback" not in running.stderr
        assert not in_session(running.process.pid)


def deployments(project: Project) -> str:
    """The deployments that Skaffold left in the namespace, by name."""
    command = ["kubectl", "-n", project.namespace, "get", "deployments", "-o", "name"]
    done = subprocess.run(command, env=project.environment, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout
