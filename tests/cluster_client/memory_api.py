"""A few pods behind the API's list and watch, in memory below httpx. Owns no rule of ours: it plays the other side."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import httpx
import trio

from forwarders.transports.api_server import ApiServer, Headers

JSON = dict[str, Any]


def pod(name: str, version: int = 1, namespace: str = "shop") -> JSON:
    """A pod as the API writes it."""
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}", "resourceVersion": str(version)},
        "spec": {"containers": [{"name": "app", "ports": [{"containerPort": 8080}]}]},
        "status": {"phase": "Running"},
    }


def event(kind: str, item: JSON) -> bytes:
    """One line of a watch."""
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def bookmark(version: int) -> bytes:
    """As a real apiserver sends it for pods: null where a pod has a list."""
    item = {"kind": "Pod", "metadata": {"resourceVersion": str(version)}, "spec": {"containers": None}, "status": {}}
    return event("BOOKMARK", item)


def status(code: int, message: str, **more: Any) -> JSON:
    return {"kind": "Status", "status": "Failure", "code": code, "message": message, **more}


def error(code: int, message: str) -> bytes:
    """The last line of a watch that the API server ends with an error."""
    return event("ERROR", status(code, message))


def refusal(code: int, message: str = "no") -> httpx.Response:
    return httpx.Response(code, json=status(code, message))


def streamed(answer: httpx.Response) -> httpx.Response:
    """As the network gives it: a response whose body is still to be read."""
    if not answer.is_stream_consumed:
        return answer
    return httpx.Response(answer.status_code, headers=answer.headers, stream=httpx.ByteStream(answer.content))


class Feed(httpx.AsyncByteStream):
    """The body of one watch, written by the test."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[bytes | None](100)
        self.closed = False

    def send(self, data: bytes) -> None:
        self._send.send_nowait(data)

    def end(self) -> None:
        """In good order."""
        self._send.close()

    def cut(self) -> None:
        """The connection breaks."""
        self._send.send_nowait(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._receive:
            if data is None:
                raise httpx.ReadError("cut")
            yield data

    async def aclose(self) -> None:
        self.closed = True
        self._send.close()
        self._receive.close()


class MemoryApi(httpx.AsyncBaseTransport):
    """Lists `pods`; a watch is a Feed. `answers["list"]` and `["watch"]` come first, in order."""

    def __init__(self, *names: str, version: int = 10) -> None:
        self.pods = [pod(name) for name in names]
        self.version = version
        self.answers: dict[str, deque[httpx.Response | Exception]] = defaultdict(deque)
        self.asked: list[tuple[str, dict[str, str], float]] = []
        self.requests: list[httpx.Request] = []
        self.feeds: list[Feed] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        query = dict(request.url.params)
        verb = "watch" if "watch" in query else "list"
        self.asked.append((verb, query, trio.current_time()))
        self.requests.append(request)
        if self.answers[verb]:
            answer = self.answers[verb].popleft()
            if isinstance(answer, Exception):
                raise answer
            return streamed(answer)
        if verb == "list":
            listed = {"metadata": {"resourceVersion": str(self.version)}, "items": self.pods}
            return streamed(httpx.Response(200, json=listed))
        self.feeds.append(Feed())
        return httpx.Response(200, stream=self.feeds[-1])

    @property
    def verbs(self) -> list[str]:
        return [verb for verb, _, _ in self.asked]


async def no_headers(renew: bool) -> Headers:  # noqa: FBT001 - ApiServer's signature
    return []


SERVER = ApiServer("api.test", 6443, "", None, "api.test", no_headers)


async def until(condition: Callable[[], object]) -> None:
    """Virtual time passes until it is so; only for tests on the autojump clock."""
    with trio.fail_after(3600):
        while not condition():  # noqa: ASYNC110 - on the autojump clock this costs nothing and hides no event
            await trio.sleep(0.01)


def longest(random: Random | None = None) -> Random:
    """Jitter without chance: always the upper end."""

    class Upper(Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    return Upper()
