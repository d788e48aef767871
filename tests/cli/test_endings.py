"""The end of portside by any signal: it is quick, frees its ports, removes its runtime file and prints no error."""

from __future__ import annotations

import contextlib
import signal
import socket

import httpx
import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.skaffold_api import Recording, SkaffoldApi
from tests.cli.made import NAMESPACE, Place
from tests.support.process import PORTSIDE, Portside, portside, slowness

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
# Seconds that the issue allows.
FORWARD_ENDS, WATCH_ENDS = 1.0, 3.0


async def ends(program: Portside, place: Place, number: int, within: float) -> None:
    """Sends the signal and checks the end: time, ports, runtime file, stderr and exit code."""
    ports = [record["localPort"] for record in program.forwards]
    assert ports
    assert place.announced != []
    slow = await slowness()
    before = trio.current_time()
    assert await program.end(number) == 0
    assert trio.current_time() - before < within * max(slow, await slowness())
    await program.stopped()
    assert program.stderr == ""
    assert place.announced == []
    for port in ports:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))


@pytest.mark.parametrize("number", SIGNALS)
async def test_forward_ends_within_a_second(cluster: EmbeddedCluster, place: Place, number: int) -> None:
    """`forward` ends within a second, even with an open connection."""
    command = ("forward", "svc/web", ":8080")
    async with portside(*command, environment=place.environment, folder=place.folder) as program:
        port = (await program.ready("web"))["localPort"]
        async with await trio.open_tcp_stream("127.0.0.1", port) as conn:
            await conn.send_all(b"GET /hold HTTP/1.1\r\nHost: test\r\n\r\n")
            await ends(program, place, number, FORWARD_ENDS)


@pytest.mark.parametrize("number", SIGNALS)
async def test_watch_ends_within_three_seconds(cluster: EmbeddedCluster, place: Place, number: int) -> None:
    """`watch` reads Skaffold's stream to its end before it leaves."""
    recording, _ = Recording.load("handle-post").split("DevLoop", "Succeeded")
    async with SkaffoldApi.open(recording) as skaffold:
        command = ("watch", "--skaffold", skaffold.url, "--port-forward=services")
        async with portside(*command, environment=place.environment, folder=place.folder) as program:
            await program.ready("web")
            await ends(program, place, number, WATCH_ENDS)


async def test_a_stuck_stdout_holds_nothing(cluster: EmbeddedCluster, place: Place) -> None:
    """A stdout that nobody reads delays neither forwards nor the end."""
    command = ("forward", "svc/web", ":8080", "--output=json")
    read_end, write_end = socket.socketpair()
    with read_end, write_end:
        _fill(write_end)
        process = await trio.lowlevel.open_process(
            [PORTSIDE, *command], env=place.environment, cwd=place.folder, stdout=write_end.fileno()
        )
        try:
            url = await _status_url(place)
            async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
                with trio.fail_after(60):
                    while (await client.get(f"{url}/readyz")).status_code != 200:
                        pass
                local = (await client.get(f"{url}/v1/forwards")).json()[0]["url"]
                assert "hello" in (await client.get(local)).text
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(60):
                assert await process.wait() == 0
        finally:
            process.kill()
            await process.wait()


async def test_status_shows_what_runs(cluster: EmbeddedCluster, place: Place) -> None:
    """`portside status` prints the forwards as lines and as JSON, and the address alone."""
    command = ("forward", "svc/web", ":8080")
    async with portside(*command, environment=place.environment, folder=place.folder) as program:
        record = await program.ready("web")
        plain = await trio.to_thread.run_sync(place.portside, "status")
        assert plain.returncode == 0
        heading, forward = plain.stdout.splitlines()
        assert heading.startswith(f"portside forward (pid {program.process.pid}, {place.folder}): context ")
        assert forward.split() == ["ready", record["url"], "service/web:8080"]
        shown = await trio.to_thread.run_sync(place.portside, "status", "--output=json")
        assert f'"url":"{record["url"]}"' in shown.stdout
        assert '"state":"ready"' in shown.stdout
        address = await trio.to_thread.run_sync(place.portside, "status", "--url")
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            assert (await client.get(address.stdout.strip() + "/healthz")).text == "ok\n"
        assert await program.end() == 0


async def test_a_demanded_port_that_is_taken(cluster: EmbeddedCluster, place: Place) -> None:
    """A forward whose required port is taken fails alone; if none is left, the exit code is 1."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = await trio.to_thread.run_sync(place.portside, "forward", "svc/web", f"{port}:8080")
        assert done.returncode == 1
        assert f"Cannot forward service/web in namespace {NAMESPACE}" in done.stdout
        assert "Traceback" not in done.stderr
        command = ("forward", "svc/web", f"{port}:8080", ":8080")
        async with portside(*command, environment=place.environment, folder=place.folder) as program:
            await program.ready("web", requestedPort=0)
            failed = program.last("web", requestedPort=port)
            assert failed is not None
            assert failed["state"] == "failed"
            assert str(port) in failed["reason"]
            assert await program.end() == 0


async def test_what_is_not_there_at_the_start(cluster: EmbeddedCluster, place: Place) -> None:
    """An object that does not exist is an error of one line, with exit code 1, as in kubectl."""
    done = await trio.to_thread.run_sync(place.portside, "forward", "svc/wbe", "8080")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "wbe" in done.stderr
    assert 'did you mean "web"?' in done.stderr


def _fill(sock: socket.socket) -> None:
    """Writes until a write would block."""
    sock.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(b"x" * 4096)
    sock.settimeout(None)


async def _status_url(place: Place) -> str:
    """The URL, as soon as portside is in the runtime directory."""
    with trio.fail_after(60):
        while True:
            done = await trio.to_thread.run_sync(place.portside, "status", "--url")
            if done.returncode == 0:
                return done.stdout.strip()
