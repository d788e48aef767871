"""The start of the command: foreign modules of portside's names, Ctrl-C during the imports, what is not imported."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.access import ANY, Rule
from tests.cli.made import NAMESPACE, PATIENCE, Place
from tests.support.process import PORTSIDE, Portside, portside
from tests.support.sockets import free_port

EXEC_VERSION = "client.authentication.k8s.io/v1"
# Modules of portside, and one of a library that it needs.
FOREIGN = ("watcher", "forwarders", "click")
# Modules that `forward` has no use for; `portside forward` shares others with the commands that need these.
OF_OTHER_COMMANDS = {
    "click.shell_completion",
    "watcher.board.actions",
    "watcher.config.documents",
    "watcher.config.portside_yaml",
    "watcher.config.skaffold_yaml",
    "watcher.docker.containers",
    "watcher.skaffold.events",
    "watcher.skaffold.http_request",
    "watcher.skaffold.state",
}
# Prints the modules of portside's that compile a pattern when they are imported.
COUNTED = """
import re, sys

compiled = re._compiler.compile

def compile(pattern, flags):
    frame = sys._getframe(1)
    while frame.f_globals["__name__"] == "re":
        frame = frame.f_back
    if frame.f_globals["__name__"].startswith(("watcher", "forwarders")):
        print(frame.f_globals["__name__"])
    return compiled(pattern, flags)

re._compiler.compile = compile
import watcher.cli.forwarding_commands, watcher.cli.cluster_source
"""
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
    assert not OF_OTHER_COMMANDS & imported


def _imported(program: Portside) -> set[str]:
    """The modules that Python has reported on stderr."""
    lines = [line for line in program.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def test_a_start_compiles_few_patterns() -> None:
    """Patterns are compiled at their first use, not by an import: a start needs three of fifty."""
    done = subprocess.run([sys.executable, "-c", COUNTED], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.splitlines() == []


@pytest.fixture
def by_plugin(cluster: EmbeddedCluster, place: Place) -> str:
    """The credential of a login plugin, which the kubeconfig has then. The plugin prints what is written to `fifo`."""
    plugin = place.write("plugin", "#!/bin/sh\nexec cat fifo\n")
    Path(plugin).chmod(0o755)
    os.mkfifo(place.folder / "fifo")
    config = json.loads(Path(place.environment["KUBECONFIG"]).read_text())
    config["users"][0]["user"] = {"exec": {"apiVersion": EXEC_VERSION, "command": plugin, "interactiveMode": "Never"}}
    place.environment["KUBECONFIG"] = place.write("by-plugin", json.dumps(config))
    token = cluster.access.grant("ann", Rule((ANY,), (ANY,)))
    return json.dumps({"kind": "ExecCredential", "apiVersion": EXEC_VERSION, "status": {"token": token}})


async def test_connections_wait_from_the_first_moment(place: Place, by_plugin: str) -> None:
    """The port listens before the cluster is asked for anything: here, while the login plugin takes its time."""
    port = free_port()
    words = ("svc/web", f"{port}:8080")
    async with portside("forward", *words, environment=place.environment, folder=place.folder) as program:
        with trio.fail_after(PATIENCE):
            stream = await connected(port)
        async with stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
            await trio.Path(place.folder / "fifo").write_text(by_plugin)
            with trio.fail_after(PATIENCE):
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        await program.ready("web")


async def connected(port: int) -> trio.SocketStream:
    """A connection, as soon as the port listens."""
    while True:
        with contextlib.suppress(OSError):
            return await trio.open_tcp_stream("127.0.0.1", port)
        await trio.sleep(0.01)
