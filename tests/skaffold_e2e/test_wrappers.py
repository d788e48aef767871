"""`portside run -- make dev`: portside configures the real Skaffold inside a wrapper only by its environment."""

from __future__ import annotations

import signal

import pytest
import trio

from tests.skaffold_e2e.developing import text_at, watching
from tests.support.process import portside
from tests.support.skaffold import Project
from tests.support.sockets import is_free

pytestmark = pytest.mark.skaffold

MAKEFILE = "dev:\n\tskaffold dev -n {namespace}\n"
SCRIPT = "#!/bin/sh\nskaffold dev -n {namespace}\n"


def write_wrappers(project: Project) -> None:
    for name, text in (("Makefile", MAKEFILE), ("dev.sh", SCRIPT)):
        path = project.folder / name
        path.write_text(text.format(namespace=project.namespace))
        path.chmod(0o755)


@pytest.mark.parametrize(("words", "code"), [(("make", "dev"), {0, 2, 130}), (("./dev.sh",), {0, 130})])
async def test_a_wrapper(project: Project, words: tuple[str, ...], code: set[int]) -> None:
    """Its Skaffold forwards nothing itself and starts once; a signal to portside ends all three."""
    write_wrappers(project)
    asked = ("run", "-v", "-n", project.namespace, "--port-forward=user", "--", *words)
    async with portside(*asked, environment=project.environment, folder=project.folder, session=True) as running:
        ready = await running.ready("app", 120)
        assert (await text_at(ready)).startswith(f"hello from {project.namespace}")
        await watching(running)
        assert f"{words[0]} is not Skaffold: the Skaffold that it starts gets" in running.stderr
        assert running.stderr.count("Listing files to watch") == 1
        assert "Port forwarding" not in running.stderr.replace("Port forwarding deployment/app", "", 1)
        running.process.send_signal(signal.SIGINT)
        with trio.fail_after(60):
            assert await running.process.wait() in code
        assert is_free(ready["localPort"])
        assert running.stderr.count("Cleaning up...") == 1
