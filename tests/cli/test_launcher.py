"""The start of the command: foreign modules of portside's names, Ctrl-C during the imports, what is not imported."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.access import ANY, Rule
from tests.cli.made import NAMESPACE, PATIENCE, Place
from tests.support.process import PORTSIDE, Portside, portside

# Modules of portside, and one of a library that it needs.
FOREIGN = ("watcher", "forwarders", "click")
# Interrupts itself while the launcher imports the command.
INTERRUPTED = """
import importlib.abc, os, signal, sys
from portside.__main__ import main

class Interrupt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "watcher.cli":
            os.kill(os.getpid(), signal.SIGINT)
            os.write(1, b"went on")

sys.meta_path.insert(0, Interrupt())
main()
"""


@pytest.mark.parametrize("command", [[PORTSIDE], [sys.executable, "-m", "portside"]], ids=["script", "module"])
@pytest.mark.parametrize("way", ["PYTHONPATH", "working folder"])
def test_modules_of_the_same_name_do_not_hide_ours(place: Place, command: list[str], way: str) -> None:
    """A project's `watcher.py` is in PYTHONPATH, or in the folder where portside is started."""
    project = place.folder / "project"
    project.mkdir()
    for name in FOREIGN:
        (project / f"{name}.py").write_text("raise SystemExit('a module of the project')")
    environment = place.environment | ({"PYTHONPATH": str(project)} if way == "PYTHONPATH" else {})
    done = subprocess.run(
        [*command, "forward", "--help"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: portside forward")


def test_ctrl_c_during_the_imports_ends_it_without_a_traceback(place: Place) -> None:
    """As it ends any program that does not handle it."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], env=place.environment, capture_output=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


@pytest.mark.parametrize("user", ["certificate", "token"])
async def test_what_is_not_imported(cluster: EmbeddedCluster, place: Place, user: str) -> None:
    """The libraries for legacy logins, metrics and the live table take time and memory that most starts do not need."""
    if user == "token":
        token = cluster.access.grant("ann", Rule((ANY,), (ANY,)))
        place.environment["KUBECONFIG"] = str(cluster.kubeconfig(place.folder / "token", token, namespace=NAMESPACE))
    environment = place.environment | {"PYTHONPROFILEIMPORTTIME": "1"}
    async with portside("forward", "svc/web", ":8080", "--exec", "true", environment=environment) as program:
        assert await program.wait() == 0
    imported = _imported(program)
    assert {"trio", "watcher", "forwarders"} <= imported
    assert not {"kubernetes", "prometheus_client", "rich", "multiprocessing", "watchfiles", "asyncio"} & imported


def _imported(program: Portside) -> set[str]:
    """The top-level modules that Python has reported on stderr."""
    lines = [line for line in program.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
