"""`portside wait --iteration` beside a real `skaffold dev`: what was saved is what answers, or the error is told."""

from __future__ import annotations

import subprocess
import time

import pytest
import trio

from tests.skaffold_e2e.developing import developing, forwarding, text_at
from tests.support.process import PORTSIDE, Portside
from tests.support.skaffold import Project

pytestmark = pytest.mark.skaffold

BROKEN = "BROKEN"


async def wait(project: Project, *words: str) -> subprocess.CompletedProcess[bytes]:
    command = [PORTSIDE, "wait", "--iteration", *words]
    with trio.fail_after(120):
        return await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False, env=project.environment, cwd=project.folder
        )


async def served(project: Project, running: Portside) -> str:
    """The text that the port answers once the wait has returned."""
    done = await wait(project)
    assert done.returncode == 0, done.stderr
    found = running.last("web")
    assert found is not None
    return (await text_at(found)).strip()


async def test_a_save_is_served_when_the_wait_returns(project: Project) -> None:
    """Saved just before, in the middle of a loop, or twice; and without a save it returns as well."""
    async with developing(project) as running:
        await forwarding(running)
        for number in range(2, 5):
            project.save(text := f"version {number}")
            assert text in await served(project, running)
        project.save("early")
        await running.wait_for(lambda records: records[-1].get("phase") in {"building", "deploying"})
        project.save("late")  # in the middle of a loop
        assert "late" in await served(project, running)
        began = time.monotonic()
        done = await wait(project)
        assert done.returncode == 0
        assert done.stderr.startswith(b"portside: waiting: Skaffold has not noticed a change\n")
        assert done.stdout.endswith(b"is served; no change was noticed\n")
        assert 3 <= time.monotonic() - began < 10


async def test_a_broken_build_ends_the_wait_with_skaffolds_error(project: Project) -> None:
    """Exit code 1 and Skaffold's own words; the next good save is served again."""
    project.edit(
        "skaffold.yaml", "buildCommand: python3", f"buildCommand: grep -q {BROKEN} content.txt && exit 3; python3"
    )
    async with developing(project) as running:
        await forwarding(running)
        project.save(BROKEN)
        done = await wait(project)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"Skaffold's iteration 2 failed: " in done.stderr
        assert b"exit status 3" in done.stderr
        project.save("mended")
        assert "mended" in await served(project, running)


async def test_a_first_build_that_fails_ends_the_wait(project: Project) -> None:
    """Skaffold ends then, and portside with it; the wait says why."""
    project.edit("skaffold.yaml", "buildCommand: python3", "buildCommand: exit 3; python3")
    async with developing(project) as running:
        done = await wait(project)
        assert done.returncode == 1
        assert b"exit status 3" in done.stderr
        assert await running.wait() == 3  # Skaffold's own
