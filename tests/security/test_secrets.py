"""Secrets do not leak: all output and files of a verbose portside are searched for marked secrets."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path

import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.access import EVERYTHING
from fixtures.embedded.pods import Port
from fixtures.embedded.skaffold_api import Recording, SkaffoldApi
from fixtures.embedded.web import web
from tests.support.process import Portside, portside

NAMESPACE = "parity"  # the recorded run's
LOG_LINE, HEADER, PASSWORD, VARIABLE = "skaffold-log-hunter2", "header-hunter2", "password-hunter2", "variable-hunter2"
BUILD_LINE = "build-output-hunter2"

SKAFFOLD_YAML = """
apiVersion: skaffold/v4beta13
kind: Config
portForward:
  - {resourceType: service, resourceName: web, port: 8080, localPort: 9001}
"""


def with_log_lines(recording: Recording) -> Recording:
    """The events with log lines of Skaffold and applications around each, and an error of the stream."""
    logs = [
        {"result": {"skaffoldLogEvent": {"message": f"export TOKEN={LOG_LINE}", "level": "INFO"}}},
        {"result": {"applicationLogEvent": {"message": LOG_LINE, "richFormattedMessage": LOG_LINE}}},
        {"result": {"buildSubtaskEvent": {"actionableErr": {"message": BUILD_LINE}, "status": "Failed"}}},
        {"result": {"taskEvent": {"task": "Build", "status": "Failed", "actionableErr": {"message": BUILD_LINE}}}},
        {"error": {"code": 13, "message": LOG_LINE, "details": []}},
    ]
    noise = tuple(json.dumps(line).encode() for line in logs)
    garbage = (f'{{"result": {LOG_LINE}'.encode(),)
    return Recording((*noise[:2], *recording.lines, *noise[:3], *garbage))


@pytest.fixture
async def stage(tmp_path: Path) -> Path:
    """A folder that is project, home, runtime and temporary folder, so that it has everything that is written."""
    for name in ("home", "run", "tmp"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "skaffold.yaml").write_text(SKAFFOLD_YAML)
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "HOME": str(folder / "home"),
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "TMPDIR": str(folder / "tmp"),
        "LANG": "C.UTF-8",
        "SOME_PASSWORD": VARIABLE,
    }


def written(folder: Path, but: Iterable[Path]) -> dict[Path, bytes]:
    """Every file below `folder` that the test did not put there."""
    mine = {*but, folder / "skaffold.yaml"}
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path not in mine}


def all_said(running: Portside) -> str:
    return "\n".join([running.stderr, *map(json.dumps, running.records), *running.others])


async def ask(port: int) -> bytes:
    """A request with credentials of its own, through the forward."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as conn:
        head = f"GET / HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {HEADER}\r\nCookie: {HEADER}\r\n\r\n"
        await conn.send_all(head.encode())
        return bytes(await conn.receive_some())


@pytest.mark.parametrize("output", ["json", "plain"])
async def test_nothing_secret_is_said_or_written(stage: Path, output: str) -> None:
    """No secret is printed or written, also after a revoked token, a stopped API server and a broken stream."""
    recording, rest = Recording.load("handle-post").split("DevLoop", "Succeeded")
    labels = {"skaffold.dev/run-id": recording.run_id}
    async with EmbeddedCluster.open() as cluster:
        await cluster.deployment("app", [Port(8080, web("page"), "http")], namespace=NAMESPACE, labels=labels)
        cluster.service("web", {"app": "app"}, [{"port": 8080, "targetPort": "http"}], namespace=NAMESPACE)
        token = cluster.access.grant("developer", EVERYTHING)
        kubeconfig = cluster.kubeconfig(stage / "kubeconfig", token=token, namespace=NAMESPACE)
        async with SkaffoldApi.open(with_log_lines(recording)) as skaffold:
            words = ("watch", "-vv", "--skaffold", skaffold.url, f"--kubeconfig={kubeconfig}", "--address=127.0.0.1")
            async with portside(*words, environment=environment(stage), folder=stage, output=output) as running:
                port = await forwarded(running, output)
                with trio.fail_after(60):
                    assert b"200" in await ask(port)
                skaffold.play(with_log_lines(rest))
                files = written(stage, [kubeconfig])
                cluster.access.revoke(token)
                cluster.fail_watches()
                cluster.fail_sessions()
                await running.says("401")
                await cluster.stop_server()
                await cluster.start_server()
                assert await running.end() == 0
                said = all_said(running)
    for secret in (token, LOG_LINE, BUILD_LINE, HEADER, PASSWORD, VARIABLE, "Authorization", "Bearer"):
        assert secret not in said
        assert not [path for path, data in files.items() if secret.encode() in data]


async def forwarded(running: Portside, output: str) -> int:
    """The local port of service/web, from any output."""
    if output == "json":
        return int((await running.ready("web"))["localPort"])
    sentence = "Port forwarding service/web in namespace parity, remote port 8080 -> http://127.0.0.1:"
    await running.wait_for(lambda _: any(sentence in line for line in running.others))
    [line] = [line for line in running.others if sentence in line][:1]
    return int(line.removeprefix(sentence))


async def test_what_is_written_is_the_users_alone(stage: Path) -> None:
    """Files have mode 0600 in folders of mode 0700, whatever the umask, and are removed at the end."""
    async with EmbeddedCluster.open() as cluster:
        await cluster.deployment("web", [Port(8080, web("page"), "http")])
        kubeconfig = cluster.kubeconfig(stage / "kubeconfig")
        words = ("forward", "-vv", f"--kubeconfig={kubeconfig}", "--address=127.0.0.1", "deployment/web", ":8080")
        before = os.umask(0)
        try:
            async with portside(*words, environment=environment(stage), folder=stage) as running:
                await running.ready("web")
                files = written(stage, [kubeconfig])
                modes = {stat.S_IMODE(path.stat().st_mode) for path in files}
                folders = {stat.S_IMODE(path.parent.stat().st_mode) for path in files}
                assert await running.end() == 0
        finally:
            os.umask(before)
    assert files
    assert (modes, folders) == ({0o600}, {0o700})
    assert not written(stage, [kubeconfig])


async def test_secrets_of_a_kubeconfig_that_is_wrong(stage: Path) -> None:
    """An error about a kubeconfig names the field and never quotes passwords, tokens, keys or a plugin's variables."""
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "/nowhere/login",
        "env": [{"name": "SECRET", "value": PASSWORD}],
        "interactiveMode": "Never",
    }
    users = [
        {"username": "me", "password": PASSWORD},
        {"token": f"{PASSWORD}\n"},
        {"client-key-data": PASSWORD, "client-certificate-data": PASSWORD},
        {"exec": plugin},
    ]
    for number, user in enumerate(users):
        config = {
            "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        }
        path = stage / f"kubeconfig-{number}"
        path.write_text(json.dumps(config))
        words = ("forward", "-vv", f"--kubeconfig={path}", "--address=127.0.0.1", "svc/web", ":80")
        async with portside(*words, environment=environment(stage), folder=stage) as running:
            await running.wait_for(lambda _, r=running: bool(r.stderr or r.records))  # type: ignore[misc]  # r is bound now
            await running.end()
            assert PASSWORD not in all_said(running)
