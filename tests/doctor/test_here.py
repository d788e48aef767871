"""Doctor's checks of this machine: Skaffold, the project and its ports, limits, surroundings, other portsides."""

from __future__ import annotations

import os
import resource
from functools import partial
from pathlib import Path

import pytest
import trio

from fixtures.embedded.skaffold_api import Recording, SkaffoldApi
from forwarders.system.files import ENOUGH
from tests.cli.made import closed_port
from tests.support.sockets import listening
from watcher.board.runtime_files import Instance, announced
from watcher.config.entries import Project
from watcher.doctor import NotCheckedError, local
from watcher.doctor.cluster import ClusterChecks
from watcher.doctor.local import ProjectFiles, engine_check

ENTRY = """\
apiVersion: skaffold/v4beta11
kind: Config
portForward:
- {resourceType: service, resourceName: web, port: 80, localPort: %d}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path


def binary(folder: Path, script: str) -> dict[str, str]:
    """An environment in which `skaffold` is this shell script."""
    path = folder / "bin" / "skaffold"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"PATH": f"{path.parent}{os.pathsep}{os.defpath}"}


@pytest.mark.parametrize(
    ("script", "level", "said"),
    [
        ("echo v2.16.1", "ok", "v2.16.1; tested with 2.16"),
        ("echo v1.39.0", "warning", "v1.39.0: its events may be different"),
        ("echo hello", "warning", "says hello, which is no version"),
        ("exit 3", "warning", "says exit code 3"),
    ],
)
async def test_skaffolds_version(folder: Path, script: str, level: str, said: str) -> None:
    """The version of the binary on PATH is judged."""
    (finding,) = await local.binary_check(binary(folder, script))
    assert finding.level == level
    assert said in finding.found


async def test_without_skaffold(folder: Path) -> None:
    """A missing skaffold is only a note."""
    (finding,) = await local.binary_check({"PATH": str(folder)})
    assert finding.level == "note"


async def test_a_skaffold_that_runs() -> None:
    """The check requests Skaffold's state, and does not read its event stream."""
    async with SkaffoldApi.open(Recording.load("dev-first")) as api:
        (finding,) = await local.api_check(api.url)
        assert (finding.level, finding.found) == ("ok", f"Skaffold answers at {api.url}")
        assert api.streams == 0


async def test_a_skaffold_that_is_away_or_none() -> None:
    """A refused connection is a warning, another program at the address an error."""
    (finding,) = await local.api_check("")
    assert finding.level == "note"
    (finding,) = await local.api_check(f"http://127.0.0.1:{closed_port()}")
    assert finding.level == "warning"
    assert "ConnectError" in finding.found


async def test_no_project(folder: Path) -> None:
    """A missing project is only a note."""
    files = ProjectFiles(None, {})
    (finding,) = await files.configuration_check()
    assert finding.level == "note"
    (finding,) = await files.ports_check()
    assert finding.found == "0 local ports are asked for, none is taken"


async def test_a_project_that_reads_well(folder: Path) -> None:
    """The files, the number of entries, and the owner of a taken port are shown."""
    with listening(0) as holder:
        port = holder.getsockname()[1]
        (folder / "skaffold.yaml").write_text(ENTRY % port)
        files = ProjectFiles(Project(binary=None), {})
        (finding,) = await files.configuration_check()
        assert (finding.level, finding.found) == ("ok", "skaffold.yaml: 1 forwards asked for")
        (taken,) = await files.ports_check()
    assert taken.level == "warning"
    assert f"port {port}, which skaffold.yaml line 4 asks for, is taken by " in taken.found
    assert f"(pid {os.getpid()})" in taken.found


async def test_a_port_that_a_portside_holds(folder: Path) -> None:
    """A port that a running portside holds is ok."""
    us = Instance(pid=os.getpid(), url="http://127.0.0.1:1", command="watch", folder=str(folder))
    with listening(0) as holder, announced(us):
        (folder / "skaffold.yaml").write_text(ENTRY % holder.getsockname()[1])
        (finding,) = await ProjectFiles(Project(binary=None), {}).ports_check()
        assert finding.level == "ok"
        (running,) = await local.portsides_check()
        assert running.found == f"watch (pid {os.getpid()}) runs, status at http://127.0.0.1:1, started in {folder}"


async def test_a_project_that_cannot_be_read(folder: Path) -> None:
    """An unreadable file is an error with its line, and the ports are not checked."""
    (folder / "portside.yaml").write_text("apiVersion: portside/v1\nforwards: 1\n")
    files = ProjectFiles(None, {})
    (finding,) = await files.configuration_check()
    assert finding.level == "error"
    assert "portside.yaml line 2" in finding.found
    with pytest.raises(NotCheckedError):
        await files.ports_check()


DOCKER = "apiVersion: skaffold/v4beta11\nkind: Config\ndeploy:\n  docker: {images: [app]}\n"


async def test_a_project_for_docker_alone(folder: Path) -> None:
    """A project for Docker alone needs an engine, not a cluster; an engine that does not run is an error."""
    (folder / "skaffold.yaml").write_text(DOCKER)
    files = ProjectFiles(Project(binary=None), {})
    cluster = ClusterChecks(str(folder / "missing"), "", "", files)
    with pytest.raises(NotCheckedError, match="not needed: the project here deploys with Docker alone"):
        await cluster.kubeconfig_check()
    (finding,) = await engine_check(files, {"DOCKER_HOST": f"unix://{folder}/docker.sock"})
    assert finding.level == "error"
    assert f"the engine at {folder}/docker.sock does not answer" in finding.found
    (finding,) = await engine_check(files, {"DOCKER_HOST": "ssh://elsewhere"})
    assert finding.level == "error"
    assert "DOCKER_HOST: 'ssh://elsewhere'" in finding.found


async def test_a_docker_engine_that_answers(folder: Path) -> None:
    """The engine's version is shown; a project for Kubernetes has no such finding."""
    (folder / "skaffold.yaml").write_text(DOCKER)

    async def engine(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        body = b'{"Version":"20.10.24"}'
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), engine, 0)
        host = f"tcp://127.0.0.1:{listener.socket.getsockname()[1]}"
        (finding,) = await engine_check(ProjectFiles(Project(binary=None), {}), {"DOCKER_HOST": host})
        nursery.cancel_scope.cancel()
    assert finding.level == "ok"
    assert finding.found.endswith("answers, version 20.10.24")
    assert list(await engine_check(ProjectFiles(None, {}), {"DOCKER_HOST": host})) == []


async def test_an_entry_that_cannot_be_forwarded(folder: Path) -> None:
    """An entry that cannot be forwarded is a warning, since the others can."""
    (folder / "skaffold.yaml").write_text(ENTRY.replace("web", "'{{.NOBODY}}'") % 1)
    read, bad = await ProjectFiles(Project(binary=None), {}).configuration_check()
    assert (read.level, bad.level) == ("ok", "warning")
    assert "skaffold.yaml line 4" in bad.found


@pytest.mark.parametrize(
    ("limits", "level", "most"),
    [
        ((256, 8192), "ok", 8192),
        ((256, resource.RLIM_INFINITY), "ok", ENOUGH),
        ((1024, 1024), "warning", 1024),
    ],
)
async def test_open_files(monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], level: str, most: int) -> None:
    """A low soft limit, which portside raises, is ok; a low hard limit is a warning."""
    now = [limits]
    monkeypatch.setattr(resource, "getrlimit", lambda _: now[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: now.append(wanted))
    (finding,) = await local.files_check()
    assert finding.level == level
    assert finding.found.startswith(f"{most} of them, for a soft limit of {limits[0]}")


async def test_ipv6_on_loopback() -> None:
    """The finding names the address that forwards use."""
    (finding,) = await local.ipv6_check()
    assert finding.level in {"ok", "note"}
    assert "127.0.0.1" in finding.found


@pytest.mark.parametrize(
    ("environ", "files", "said"),
    [
        ({"WSL_DISTRO_NAME": "Debian"}, (), "WSL"),
        ({}, ("proc/sys/kernel/osrelease",), "WSL"),
        ({}, (".dockerenv",), "a container"),
        ({}, ("run/.containerenv",), "a container"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, (), "a container"),
        ({"REMOTE_CONTAINERS": "true"}, (".dockerenv",), "a development container"),
        ({"SSH_CONNECTION": "1"}, (), "a session over ssh"),
    ],
)
async def test_surroundings(tmp_path: Path, environ: dict[str, str], files: tuple[str, ...], said: str) -> None:
    """WSL, containers and ssh are noted, each with a remedy."""
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("5.15.153.1-microsoft-standard-WSL2\n")
    (finding,) = await local.surroundings_check(environ, tmp_path)
    assert finding.level == "note"
    assert finding.found.startswith(said)
    assert finding.remedy
    (plain,) = await local.surroundings_check({}, tmp_path / "elsewhere")
    assert plain.level == "ok"


async def test_a_runtime_directory_that_is_not_ours(folder: Path) -> None:
    """A file instead of the runtime directory is a warning."""
    run = folder / "run"
    run.mkdir()
    (run / "portside").write_text("")
    (finding,) = await local.portsides_check()
    assert finding.level == "warning"
    assert str(run / "portside") in finding.found
