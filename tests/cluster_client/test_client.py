"""Requests over real sockets: against the embedded cluster's TLS and rights, and a server that breaks off."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from forwarders.transports.api_server import ApiServer, Headers
from tests.cluster_client.memory_api import event, no_headers, pod
from watcher.cluster.api_client import ApiClient
from watcher.cluster.cluster_config import load_cluster_config
from watcher.cluster.kinds import POD, SERVICE, ContainerPort, ObjectMeta, Pod, PodContainer, PodSpec
from watcher.cluster.meta_v1 import WatchEventType
from watcher.cluster.store import Watch
from watcher.errors import ApiUnreachableError, MalformedError, NotFoundError, UnauthorizedError

PODS = Watch(POD, "shop")
Answer = Callable[[trio.SocketStream, str], Awaitable[None]]


@asynccontextmanager
async def answering(
    answer: Answer, host: str = "127.0.0.1", authorize: Callable[[bool], Awaitable[Headers]] = no_headers
) -> AsyncIterator[ApiClient]:
    """A client of a server that answers each request's head (as text) by writing to the stream, then closes."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            head = b""
            while b"\r\n\r\n" not in head:
                data = await stream.receive_some()
                if not data:
                    return
                head += data
            await answer(stream, head.decode())

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host=host)
        port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        async with ApiClient(ApiServer(host, port, "", None, host, authorize)) as client:
            with trio.fail_after(60):
                yield client
        nursery.cancel_scope.cancel()


def whole(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_a_connection_cut_in_a_line_is_one_error_after_the_whole_events() -> None:
    """What came whole is handed on, what came half is not, and the break is an ApiUnreachableError."""

    async def cut(stream: trio.SocketStream, head: str) -> None:
        await stream.send_all(CHUNKED + chunk(event("ADDED", pod("a", 11))) + chunk(event("ADDED", pod("b", 12))[:40]))

    names: list[str] = []

    async def follow(client: ApiClient) -> None:
        async with client.watch(PODS, "10", 300) as stream:
            async for events in stream:
                names.extend(event.object.metadata.name for event in events)

    async with answering(cut) as client:
        with pytest.raises(ApiUnreachableError, match="broke off its answer"):
            await follow(client)
    assert names == ["a"]


async def test_a_watch_that_is_left_in_the_middle_leaves_nothing_behind() -> None:
    """Leaving early closes the connection; no generator of httpx is left to the garbage collector (a warning here)."""
    closed = trio.Event()

    async def endless(stream: trio.SocketStream, head: str) -> None:
        await stream.send_all(CHUNKED + chunk(event("ADDED", pod("a", 11))))
        assert await stream.receive_some() == b""
        closed.set()

    async with answering(endless) as client:
        async with client.watch(PODS, "10", 300) as stream:
            [only] = await anext(stream)
            assert only.change is WatchEventType.ADDED
        await closed.wait()


async def test_an_answer_cut_short_is_no_answer() -> None:
    """Half a list is an error, not a short list."""

    async def short(stream: trio.SocketStream, head: str) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{")

    async with answering(short) as client:
        with pytest.raises(ApiUnreachableError, match="broke off its answer"):
            await client.list(PODS)


async def test_lists_may_come_compressed_and_watches_ask_not_to() -> None:
    """Lists are large and repetitive; a watch's small events must not wait in a compressor."""
    page = json.dumps({"metadata": {"resourceVersion": "9"}, "items": [pod("a")]}).encode()
    heads: list[str] = []

    async def compressed(stream: trio.SocketStream, head: str) -> None:
        heads.append(head.lower())
        await stream.send_all(whole(gzip.compress(page), "Content-Encoding: gzip"))

    async with answering(compressed) as client:
        listed = await client.list(PODS)
        assert [item.metadata.name for item in listed.objects] == ["a"]
        assert listed.resource_version == "9"
        async with client.watch(PODS, "9", 300):
            pass
    assert "accept-encoding: gzip" in heads[0]
    assert "accept-encoding: identity" in heads[1]


async def test_selectors_and_namespaces_are_in_the_request() -> None:
    """A watch is narrowed where it is cheapest, and no character of a selector is lost."""
    heads: list[str] = []

    async def note(stream: trio.SocketStream, head: str) -> None:
        heads.append(head.split(" ")[1])
        await stream.send_all(whole(b'{"metadata":{},"items":[]}'))

    async with answering(note) as client:
        await client.list(Watch(SERVICE, "", "skaffold.dev/run-id=a b", "metadata.name=web"))
    assert heads[0].startswith("/api/v1/services?")
    assert "labelSelector=skaffold.dev%2Frun-id%3Da" in heads[0]
    assert "fieldSelector=metadata.name%3Dweb" in heads[0]


async def test_what_is_no_api_server_is_said() -> None:
    """A login page with status 200 is no empty list."""

    async def login(stream: trio.SocketStream, head: str) -> None:
        await stream.send_all(whole(b"<html>please log in</html>"))

    async with answering(login) as client:
        with pytest.raises(
            MalformedError, match="cannot list pods in namespace shop: the response is not from a Kubernetes"
        ):
            await client.list(PODS)


async def test_ipv6_addresses_work() -> None:
    """A server at [::1] is reached, and its port is in the messages."""

    async def version(stream: trio.SocketStream, head: str) -> None:
        await stream.send_all(whole(b'{"gitVersion":"v1.34.4"}'))

    async with answering(version, "::1") as client:
        assert client.server.url.startswith("http://[::1]:")
        assert await client.server_version() == "v1.34.4"


async def test_nobody_there_is_said_in_words() -> None:
    """The system's reason stands in the message, not a class name."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    async with ApiClient(ApiServer("127.0.0.1", port, "", None, "127.0.0.1", no_headers)) as client:
        with pytest.raises(ApiUnreachableError, match=f"http://127.0.0.1:{port} cannot be reached: connection refused"):
            await client.list(PODS)


@pytest.mark.parametrize("name", ["", ".", "..", "../secrets"])
async def test_a_name_is_no_path(name: str) -> None:
    """What stands in a configuration cannot lead a request elsewhere."""
    paths: list[str] = []

    async def missing(stream: trio.SocketStream, head: str) -> None:
        paths.append(head.split(" ")[1])
        await stream.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    async with answering(missing) as client:
        with pytest.raises(NotFoundError):
            await client.get(POD, "shop", name)
    assert paths in ([], ["/api/v1/namespaces/shop/pods/..%2Fsecrets"])


async def test_a_401_renews_once_for_many_callers() -> None:
    """Requests that meet a 401 while another renews use what that one got."""
    valid, renewals = "new", 0
    header = "old"

    async def authorize(renew: bool) -> Headers:  # noqa: FBT001 - ApiServer's signature
        nonlocal header, renewals
        if renew:
            renewals += 1
            header = "new"
        return [("Authorization", header)]

    async def check(stream: trio.SocketStream, head: str) -> None:
        if f"authorization: {valid}\r\n" in head.lower():
            await stream.send_all(whole(b'{"gitVersion":"v1"}'))
        else:
            await stream.send_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with answering(check, authorize=authorize) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(client.server_version)
        assert renewals == 1
        valid = "other"
        with pytest.raises(UnauthorizedError, match="the credentials are not accepted"):
            await client.server_version()


async def test_an_untrusted_certificate_is_said_in_words(tmp_path: Path) -> None:
    """A cluster that was made anew under the same address is the usual cause."""
    async with EmbeddedCluster.open() as cluster, EmbeddedCluster.open() as other:
        content = json.loads(cluster.kubeconfig(tmp_path / "config").read_text())
        content["clusters"][0]["cluster"]["server"] = other.url
        (tmp_path / "mixed").write_text(json.dumps(content))
        config = await load_cluster_config(str(tmp_path / "mixed"), None)
        async with ApiClient(config.server) as client:
            with pytest.raises(ApiUnreachableError, match=r"certificate is not trusted .*certificate-authority"):
                await client.server_version()


async def test_a_client_certificate_and_a_token_are_who_we_are(tmp_path: Path) -> None:
    """The embedded cluster knows both ways, and a revoked token is refused with a remedy."""
    async with EmbeddedCluster.open() as cluster:
        config = await load_cluster_config(str(cluster.kubeconfig(tmp_path / "admin")), None)
        async with ApiClient(config.server) as client:
            assert (await client.list(Watch(SERVICE, "default"))).resource_version
        token = cluster.access.grant("ann")
        limited = await load_cluster_config(str(cluster.kubeconfig(tmp_path / "ann", token)), None)
        cluster.access.revoke(token)
        async with ApiClient(limited.server) as client:
            with pytest.raises(UnauthorizedError, match="log in again"):
                await client.list(Watch(SERVICE, "default"))


async def test_the_log_of_a_container() -> None:
    """Its last lines, as text whatever bytes they are; the container is named where one is meant."""
    asked: list[str] = []

    async def answer(stream: trio.SocketStream, head: str) -> None:
        asked.append(head.splitlines()[0])
        await stream.send_all(whole(b"started\nbad \xff byte\n"))

    async with answering(answer) as client:
        assert await client.pod_log("shop", "web-1", "app", 20) == "started\nbad \ufffd byte\n"
        await client.pod_log("shop", "web-1", "", 20)
    first, second = (line.split()[1] for line in asked)
    assert first == "/api/v1/namespaces/shop/pods/web-1/log?tailLines=20&limitBytes=65536&container=app"
    assert "container" not in second


@pytest.mark.parametrize(("port", "name"), [(8080, "app"), (9090, "proxy"), (1, "proxy")])
def test_the_container_of_a_port(port: int, name: str) -> None:
    """The one that declares it, or else the first."""
    containers = [("proxy", 9090), ("app", 8080)]
    spec = PodSpec(tuple(PodContainer(name, ports=(ContainerPort(port),)) for name, port in containers))
    assert Pod(metadata=ObjectMeta(name="web-1"), spec=spec).container_at(port) == name
    assert Pod(metadata=ObjectMeta(name="web-1")).container_at(port) == ""
