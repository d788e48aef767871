"""The status address: without a token on loopback, with one elsewhere, and found by portside's own commands."""

from __future__ import annotations

import stat
from pathlib import Path

import httpx
import pytest
import trio

from tests.cli.made import Place
from tests.support.process import portside

COMMAND = ("forward", "svc/web", "0:80", "--output", "json")
TOKEN = "0123456789abcdef"


async def status(place: Place, *words: str) -> str:
    """The output of `portside status` in its own process."""
    done = await trio.to_thread.run_sync(lambda: place.portside("status", *words))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def tokens(place: Place) -> list[Path]:
    return list((place.folder / "run" / "portside").glob("*.token"))


async def test_on_loopback_no_token(place: Place) -> None:
    """By default only users of this machine can send requests, so there is no token."""
    async with portside(*COMMAND, environment=place.environment, folder=place.folder) as program:
        await program.wait_for(bool)
        url = await status(place, "--url")
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            assert (await client.get(f"{url}/v1/forwards")).status_code == 200
        assert tokens(place) == []


async def test_elsewhere_a_token_is_made(place: Place) -> None:
    """A token is generated and its file named once; only the owner can read the file, which is removed at the end."""
    command = (*COMMAND, "--status", "0.0.0.0:0")
    async with portside(*command, environment=place.environment, folder=place.folder) as program:
        await program.says("is open to other machines")
        (file,) = tokens(place)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert program.stderr.count(str(file)) == 1
        token = file.read_text()
        assert len(token) > 40
        assert token not in program.stderr
        await program.wait_for(bool)
        url = await status(place, "--url")
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            assert (await client.get(f"{url}/v1/forwards")).status_code == 401
            right = await client.get(f"{url}/v1/forwards", headers={"Authorization": f"Bearer {token}"})
            assert [forward["resourceName"] for forward in right.json()] == ["web"]
        assert "service/web:80" in await status(place)
        await program.end()
    assert place.announced == []


async def test_a_token_of_ones_own(place: Place) -> None:
    """The user's token comes from a file or the environment, for any address."""
    file = place.write("token", f"{TOKEN}\n")
    for words, environment in (
        (("--status-token-file", file), {}),
        ((), {"PORTSIDE_STATUS_TOKEN": TOKEN}),
        ((), {"PORTSIDE_STATUS_TOKEN_FILE": file}),
    ):
        given = place.environment | environment
        async with portside(*COMMAND, *words, environment=given, folder=place.folder) as program:
            await program.wait_for(bool)
            url = await status(place, "--url")
            async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
                assert (await client.get(f"{url}/v1/forwards")).status_code == 401
                right = await client.get(f"{url}/v1/forwards", headers={"Authorization": f"Bearer {TOKEN}"})
                assert right.status_code == 200
            assert "service/web:80" in await status(place)


TOO_WEAK = ("", "short", "fifteen-letters", "white space within it", "0123456789abcdé")


@pytest.mark.parametrize("content", TOO_WEAK, ids=range(len(TOO_WEAK)))
def test_what_is_no_token(place: Place, content: str) -> None:
    """An unusable token is one line that names the option and does not quote the token."""
    file = place.write("token", content)
    for words, environment, origin in (
        (("--status-token-file", file), {}, f"--status-token-file {file}"),
        ((), {"PORTSIDE_STATUS_TOKEN": content}, "PORTSIDE_STATUS_TOKEN"),
    ):
        if not content and environment:
            continue  # an empty variable is none
        done = place.portside(*COMMAND, *words, **environment)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert f"{origin}: expected 16 or more printable ASCII characters" in done.stderr
        assert not content or content not in done.stderr


def test_a_token_file_that_cannot_be_read(place: Place) -> None:
    """The line names the option, the path and the system's reason."""
    done = place.portside(*COMMAND, "--status-token-file", "nowhere")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--status-token-file nowhere cannot be read: No such file" in done.stderr


def test_a_runtime_directory_that_cannot_be_written(place: Place) -> None:
    """If the token cannot be stored, portside reports that before it forwards anything."""
    (place.folder / "run" / "portside").write_text("in the way")
    done = place.portside(*COMMAND, "--status", "0.0.0.0:0")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "give --status-token-file" in done.stderr
