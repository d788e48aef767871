"""The stand-in for Skaffold's event API: recorded lines, in order, at once and live."""

from __future__ import annotations

import h11
import httpx
import msgspec
import pytest
import trio

from fixtures.embedded.skaffold_api import STREAMS, Recording, SkaffoldApi

NAMES = sorted(path.name.removesuffix(".v2.jsonl") for path in STREAMS.glob("*.v2.jsonl"))
PATIENCE = 60.0


class Reader:
    """GET /v2/events, by hand."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self.text = b""

    async def ask(self, target: str = "/v2/events") -> int:
        request = h11.Request(method="GET", target=target, headers=[("Host", "skaffold")])
        await self._stream.send_all((self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b""))
        answer = await self._next()
        assert isinstance(answer, h11.Response)
        return answer.status_code

    async def lines(self, count: int) -> list[bytes]:
        with trio.fail_after(PATIENCE):
            while self.text.count(b"\n") < count:
                event = await self._next()
                assert isinstance(event, h11.Data)
                self.text += event.data
        return self.text.splitlines()

    async def _next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(bytes(await self._stream.receive_some()))
        return event


@pytest.mark.parametrize("name", NAMES)
def test_every_recording_names_its_run(name: str) -> None:
    """The run id of a recording is the first one that a metaEvent names."""
    recording = Recording.load(name)
    assert f'"runID":"{recording.run_id}"'.encode() in recording.lines[0]


def test_split() -> None:
    """A recording is cut behind the first task event asked for; one that never comes is an error."""
    recording = Recording.load("dev-redeploy")
    first, rest = recording.split("DevLoop", "Succeeded")
    assert b'"DevLoop-1"' in first.lines[-1]
    assert first.lines + rest.lines == recording.lines
    with pytest.raises(ValueError, match="no Nothing Succeeded"):
        recording.split("Nothing", "Succeeded")


async def test_replay_then_live() -> None:
    """A reader gets what has been, then what happens, and the stream stays open until it leaves."""
    first, rest = Recording.load("dev-redeploy").split("DevLoop", "Succeeded")
    async with SkaffoldApi.open(first) as api:
        stream = await trio.open_tcp_stream("127.0.0.1", api.port)
        async with stream:
            reader = Reader(stream)
            assert await reader.ask() == 200
            assert await reader.lines(len(first.lines)) == list(first.lines)
            assert api.readers == 1
            api.play(rest)
            assert await reader.lines(len(first.lines) + len(rest.lines)) == [*first.lines, *rest.lines]
            await stream.send_eof()
            with trio.fail_after(PATIENCE):
                while await stream.receive_some():
                    pass
        assert api.readers == 0


async def test_what_is_posted_is_told() -> None:
    """As an event like any other, with a time of Skaffold's own."""
    async with SkaffoldApi.open(Recording(())) as api, await trio.open_tcp_stream("127.0.0.1", api.port) as stream:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{api.url}/v2/events/handle", json={"skaffoldLogEvent": {"taskId": "T"}})
        assert (answer.status_code, answer.json()) == (200, {})
        reader = Reader(stream)
        assert await reader.ask() == 200
        [line] = await reader.lines(1)
        event = msgspec.json.decode(line)["result"]
        assert event.pop("timestamp")
        assert event == {"skaffoldLogEvent": {"taskId": "T"}}


async def test_another_path() -> None:
    """What is not played is 404, as with grpc-gateway."""
    async with SkaffoldApi.open(Recording(())) as api, await trio.open_tcp_stream("127.0.0.1", api.port) as stream:
        assert await Reader(stream).ask("/v2/nothing") == 404
