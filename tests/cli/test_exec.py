"""--exec and --env-file in scripts: the command starts when all is ready; portside ends with its exit code."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.pods import Port
from fixtures.embedded.skaffold_api import Recording, SkaffoldApi
from fixtures.embedded.web import web
from tests.cli.made import Place
from tests.support.process import Portside, portside
from tests.support.sockets import is_free
from watcher.board.environment import HEADER

# Says that it runs (into a FIFO: the reader need not look twice), then does what follows.
RUNS = "echo $$ > fifo; "


@pytest.fixture
async def cluster(place: Place) -> AsyncIterator[EmbeddedCluster]:
    async with EmbeddedCluster.open() as cluster:
        await cluster.deployment("web", [Port(8080, web("hello"), "http")])
        cluster.service("web", {"app": "web"}, [{"port": 8080}])
        place.environment["KUBECONFIG"] = str(cluster.kubeconfig(place.folder / "embedded"))
        os.mkfifo(place.folder / "fifo")
        yield cluster


def forwarding(place: Place, *words: str, session: bool = False):  # type: ignore[no-untyped-def] # an async context manager
    return portside("forward", *words, environment=place.environment, folder=place.folder, session=session)


async def begun(place: Place) -> int:
    """The command's process id, as soon as it runs."""
    with trio.fail_after(60):
        return int(await trio.to_thread.run_sync((place.folder / "fifo").read_text, abandon_on_cancel=True))


async def test_without_a_shell_it_fails(cluster: EmbeddedCluster, place: Place) -> None:
    """Without a shell, the system's error is one line, not a report of a bug."""
    place.environment["PATH"] = str(place.folder)
    async with forwarding(place, "svc/web", ":8080", "--exec", "true") as program:
        assert await program.wait() == 1
        assert "--exec: sh cannot be started: No such file or directory\n" in program.stderr
        assert "bug" not in program.stderr


async def test_its_code_is_ours(cluster: EmbeddedCluster, place: Place) -> None:
    """The command sees the variables and reaches the pod; its output is not mixed with JSON."""
    fetch = "import os, urllib.request as u; print(u.urlopen(os.environ['WEB_8080_URL']).read().decode())"
    place.write("fetch.py", fetch)
    place.environment["PATH"] = os.environ["PATH"]
    command = 'python3 fetch.py && echo "at $WEB_8080_HOST:$DEFAULT_SERVICE_WEB_8080_PORT" && exit 7'
    async with forwarding(place, "svc/web", ":8080", "--exec", command) as program:
        assert await program.wait() == 7, program.stderr
        assert "hello" in program.stderr
        [port] = {record["localPort"] for record in program.records if record["kind"] == "forward"} - {0}
        assert f"at 127.0.0.1:{port}\n" in program.stderr
        assert program.others == []
        assert is_free(port)
    assert place.announced == []


@pytest.mark.parametrize(("command", "code"), [("kill -9 $$", 137), ("true", 0), ("no-such-program", 127)])
async def test_other_ends(cluster: EmbeddedCluster, place: Place, command: str, code: int) -> None:
    """A signal gives exit code 128+n, as in a shell."""
    async with forwarding(place, "svc/web", ":8080", "--exec", command) as program:
        assert await program.wait() == code


async def test_the_users_own_variables_stay(cluster: EmbeddedCluster, place: Place) -> None:
    """The user's own variables are not replaced, in the command or the file; one line names each that was left out."""
    place.environment |= {"DATABASE_URL": "postgres://mine", "WEB_8080_PORT": "1"}
    cluster.service("database", {"app": "web"}, [{"port": 8080}])
    with socket.create_server(("127.0.0.1", 0)) as free:
        gateway = str(free.getsockname()[1])
    words = ("svc/web", ":8080", "svc/database", ":8080", "--gateway", gateway, "--env-file", "env")
    written = "until grep -q WEB_8080_HOST env; do sleep 0.05; done"
    command = f'{written}; cat env; echo "$DATABASE_URL $WEB_8080_PORT $WEB_8080_HOST $WEB_URL"'
    async with forwarding(place, *words, "--exec", command) as program:
        assert await program.wait() == 0, program.stderr
        assert f"postgres://mine 1 127.0.0.1 http://web.localhost:{gateway}\n" in program.stderr
        assert "\nDATABASE_URL=" not in program.stderr
        assert "\nDATABASE_8080_URL=" in program.stderr
        for name in ("DATABASE_URL", "WEB_8080_PORT"):
            assert program.stderr.count(f"the variable {name} (") == 1


async def test_it_waits_for_what_is_not_ready(cluster: EmbeddedCluster, place: Place) -> None:
    """The command waits for the pod and says so; the file has the same addresses as its variables."""
    command = f'{RUNS} . ./env; test "$API_80_URL" = "$(sed -n s/^API_80_URL=//p env)"; exit $?'
    cluster.service("api", {"app": "api"}, [{"port": 80}])
    words = ("svc/api", ":80", "--env-file", "env", "--exec", command)
    async with forwarding(place, *words) as program:
        await program.says("--exec waits: listening service/api port 80 in namespace default")
        await cluster.deployment("api", [Port(80, web("api"), "http")])
        await begun(place)
        assert await program.wait() == 0, program.stderr


async def test_it_gives_up(cluster: EmbeddedCluster, place: Place) -> None:
    """After the time limit, or a failed forward, the command is not run: exit code 1 with the reason."""
    cluster.service("api", {"app": "api"}, [{"port": 80}])
    words = ("--exec", "touch ran", "--exec-timeout", "0.2")
    async with forwarding(place, "svc/api", ":80", *words) as program:
        assert await program.wait() == 1
        assert "--exec: not ready within 0.2 s" in program.stderr
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = f"{holder.getsockname()[1]}:8080"
        async with forwarding(place, "svc/web", taken, ":8080", "--exec", "touch ran") as program:
            assert await program.wait() == 1
            assert "--exec: failed service/web port 8080" in program.stderr
    assert "ran" not in os.listdir(place.folder)


async def test_a_signal_before_it_began(cluster: EmbeddedCluster, place: Place) -> None:
    """A signal before the command starts gives exit code 1."""
    cluster.service("api", {"app": "api"}, [{"port": 80}])
    async with forwarding(place, "svc/api", ":80", "--exec", "true") as program:
        await program.wait_for(lambda _: (program.last("api") or {}).get("state") == "listening")
        assert await program.end(signal.SIGTERM) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_to_us_is_the_commands(cluster: EmbeddedCluster, place: Place, number: int) -> None:
    """A signal to portside is passed to the command, and portside ends with it."""
    name = signal.Signals(number).name.removeprefix("SIG")
    command = f"trap 'echo got {name} >&2; exit 5' {name}; {RUNS} while :; do sleep 0.1; done"
    async with forwarding(place, "svc/web", ":8080", "--exec", command, session=True) as program:
        await begun(place)
        assert await program.end(number) == 5
        assert program.stderr.count(f"got {name}") == 1


async def test_ctrl_c_reaches_it_once(cluster: EmbeddedCluster, place: Place) -> None:
    """The terminal sends Ctrl-C to the whole group, so portside does not send it again and interrupt the clean-up."""
    command = f"trap 'echo got one >&2; sleep 1; exit 5' INT; {RUNS} while :; do sleep 0.1; done"
    async with forwarding(place, "svc/web", ":8080", "--exec", command, session=True) as program:
        await begun(place)
        program.interrupt()
        assert await program.wait() == 5
        assert program.stderr.count("got one") == 1


# Stands in for the program alone: its events are a real Skaffold's, recorded.
SKAFFOLD = """#!/bin/sh
trap 'echo cleaned up >&2; exit 3' INT
while :; do sleep 0.1; done
"""


@asynccontextmanager
async def running(place: Place, cluster: EmbeddedCluster, command: str) -> AsyncIterator[Portside]:
    """`portside run --exec COMMAND -- skaffold dev`, whose deploy has ended."""
    recording = Recording.load("handle-post")
    labels = {"skaffold.dev/run-id": recording.run_id}
    cluster.service("web", {"app": "web"}, [{"port": 8080}], labels=labels)
    os.chmod(place.write("skaffold", SKAFFOLD), 0o700)
    async with SkaffoldApi.open(recording) as api:
        port = api.url.rpartition(":")[2]
        words = ("--exec", command, "--", "./skaffold", "dev", f"--rpc-http-port={port}", "--port-forward=services")
        async with portside("run", *words, environment=place.environment, folder=place.folder, session=True) as program:
            yield program


async def test_under_run_skaffold_is_ended_too(cluster: EmbeddedCluster, place: Place) -> None:
    """The end of the command ends Skaffold like Ctrl-C; the exit code is the command's."""
    async with running(place, cluster, 'echo "at $WEB_8080_URL" >&2; exit 7') as program:
        assert await program.wait() == 7, program.stderr
        assert "at http://127.0.0.1:" in program.stderr
        assert program.stderr.count("cleaned up") == 1


async def test_ctrl_c_under_run(cluster: EmbeddedCluster, place: Place) -> None:
    """Skaffold and the command get Ctrl-C once each; the exit code is the command's."""
    command = f"trap 'echo got one >&2; exit 5' INT; {RUNS} while :; do sleep 0.1; done"
    async with running(place, cluster, command) as program:
        await begun(place)
        program.interrupt()
        assert await program.wait() == 5
        assert [program.stderr.count(said) for said in ("got one", "cleaned up")] == [1, 1]


async def test_the_file_while_it_runs_and_after(cluster: EmbeddedCluster, place: Place) -> None:
    """Docker can read the file: only NAME=VALUE and comments; at the end it has no variables."""
    async with forwarding(place, "svc/web", ":8080", "--env-file", "env") as program:
        record = await program.ready("web")
        read: dict[str, str] = {}
        with trio.fail_after(60):
            while read.get("WEB_8080_URL") != record["url"]:  # a thread writes it
                await trio.sleep(0.05)
                read = dict(line.split("=", 1) for line in _lines(place.folder / "env"))
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            assert "hello" in (await client.get(read["WEB_8080_URL"])).text
        assert await program.end() == 0
    assert (place.folder / "env").read_text() == HEADER


def test_mistakes(place: Place) -> None:
    """A mistake is one line with exit code 2, before anything is bound."""
    place.write("mine", "SECRET=1\n")
    for words in (("--env-file", "mine"), ("--env-file", "missing/env"), ("--exec-timeout", "soon")):
        done = place.portside("forward", "svc/web", "8080", *words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
    done = place.portside("run", "--output", "table", "--", "skaffold", "dev")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]
