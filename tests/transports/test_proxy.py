"""The way to the API server: through a proxy or not, plainly or over TLS, each step with its deadline."""

from __future__ import annotations

import base64
import re

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from fixtures.embedded import certificates
from forwarders.errors import ProxyError, UnreachableError
from forwarders.spec import authority
from forwarders.transports import api_server as dialling
from forwarders.transports.api_server import ApiServer, dial
from forwarders.transports.proxy import Proxy
from tests.transports.net import CERTIFICATES, Handler, Net, head, no_headers, over_tls, saying, server, trusting

PROXY = Proxy("proxy.test", 3128, source="HTTPS_PROXY")
LOGIN = ("ann", "secret")
PASSWORD = "Basic " + base64.b64encode(b"ann:secret").decode()


async def echo(stream: trio.abc.Stream) -> None:
    while data := await stream.receive_some(4096):
        await stream.send_all(data)


def tunnelling(behind: Handler, asked: list[str], wanted: str = "") -> Handler:
    """A proxy: CONNECT is answered and what is behind it speaks on."""

    async def serve(stream: trio.abc.Stream) -> None:
        request = await head(stream)
        asked.append(f"{request.method.decode()} {request.target.decode()}")
        given = dict(request.headers).get(b"proxy-authorization", b"").decode()
        if wanted and given != wanted:
            await stream.send_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        await stream.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await behind(stream)

    return serve


async def answers(server: ApiServer) -> bool:
    channel = await dial(server)
    await channel.send(b"hello")
    answer = await channel.receive()
    channel.close()
    return answer == b"hello"


@pytest.mark.parametrize("proxy_tls", [False, True], ids=["http proxy", "https proxy"])
@pytest.mark.parametrize("server_tls", [False, True], ids=["http", "https"])
async def test_through_a_proxy(net: Net, *, proxy_tls: bool, server_tls: bool) -> None:
    """CONNECT to the API server by its own name, then TLS with it, inside the proxy's TLS where there is one."""
    asked: list[str] = []
    handler = tunnelling(over_tls(echo) if server_tls else echo, asked, PASSWORD)
    net.handlers["localhost", 3128] = over_tls(handler) if proxy_tls else handler
    proxy = Proxy("localhost", 3128, trusting() if proxy_tls else None, LOGIN, "proxy-url")
    assert await answers(server(tls=trusting() if server_tls else None, proxy=proxy))
    assert asked == ["CONNECT api.test:6443"]
    assert net.connected == [("localhost", 3128)]
    assert net.left_open == 0


async def test_without_a_proxy(net: Net) -> None:
    """The server itself, over TLS."""
    net.handlers["api.test", 6443] = over_tls(echo)
    assert await answers(server(tls=trusting()))


@pytest.mark.parametrize("polite", [True, False], ids=["close_notify", "cut"])
async def test_the_end_of_tls(net: Net, *, polite: bool) -> None:
    """What came counts, then b"" again and again: with TLS's own farewell (a real API server's) and without."""

    async def leave(stream: trio.abc.Stream) -> None:
        context = certificates.server_context(CERTIFICATES)
        secured = trio.SSLStream(stream, context, server_side=True, https_compatible=not polite)
        await secured.send_all(b"bye")
        await secured.aclose()

    net.handlers["api.test", 6443] = leave
    channel = await dial(server(tls=trusting()))
    with trio.fail_after(60):
        assert [await channel.receive() for _ in range(3)] == [b"bye", b"", b""]
    channel.close()


async def test_a_large_answer_through_two_layers_of_tls(net: Net) -> None:
    """More than either layer's buffers hold."""
    data = bytes(range(256)) * 8000

    async def give(stream: trio.abc.Stream) -> None:
        await stream.send_all(data)
        await trio.sleep_forever()

    net.handlers["localhost", 3128] = over_tls(tunnelling(over_tls(give), []))
    channel = await dial(server(tls=trusting(), proxy=Proxy("localhost", 3128, trusting())))
    received = b""
    while len(received) < len(data):
        received += await channel.receive()
    assert received == data


async def hanging_up(stream: trio.abc.Stream) -> None:
    await head(stream)
    await stream.aclose()


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (
            saying("HTTP/1.1 407 Proxy Authentication Required", "Content-Length: 0"),
            "HTTP 407: its URL needs user:pass",
        ),
        (saying("HTTP/1.1 502 Bad Gateway", "Content-Length: 0"), "refused to connect to api.test:6443: HTTP 502"),
        (saying("HTTP/1.1 403 Forbidden", "Content-Length: 0"), "HTTP 403"),
        (saying("SSH-2.0-OpenSSH_9.2"), "did not connect to api.test:6443: the answer is not HTTP"),
        (saying("HTTP/1.1 200 OK", body=b"220 smtp"), "sent bytes of its own"),
        (hanging_up, "the connection was closed before"),
    ],
    ids=["407", "502", "403", "no HTTP", "speaks first", "closes"],
)
async def test_a_proxy_that_does_not_let_us_through(net: Net, handler: Handler, said: str) -> None:
    """One line that names the proxy, who said so, and what to do; nothing stays open."""
    net.handlers["proxy.test", 3128] = handler
    with pytest.raises(ProxyError, match=r"proxy proxy.test:3128 \(HTTPS_PROXY\)") as raised:
        await dial(server(proxy=PROXY))
    assert said in str(raised.value)
    assert net.left_open == 0


async def test_a_password_is_in_no_message(net: Net) -> None:
    """Neither of the error nor of the value."""
    net.handlers["proxy.test", 3128] = saying("HTTP/1.1 407 No", "Content-Length: 0")
    proxy = Proxy("proxy.test", 3128, None, LOGIN, "HTTPS_PROXY")
    with pytest.raises(ProxyError) as raised:
        await dial(server(proxy=proxy))
    secret = PASSWORD.removeprefix("Basic ")
    assert not re.search(f"{secret}|secret", f"{raised.value!r} {raised.value} {proxy!r} {proxy}")


async def test_a_proxy_that_is_not_there(net: Net) -> None:
    """It is the proxy that is named."""
    with pytest.raises(UnreachableError, match=r"cannot connect to the proxy proxy\.test:3128"):
        await dial(server(proxy=PROXY))


async def silent(stream: trio.abc.Stream) -> None:
    await head(stream)
    await trio.sleep_forever()


async def mute(_: trio.abc.Stream) -> None:
    await trio.sleep_forever()


async def test_deadlines(net: Net, autojump_clock: MockClock) -> None:
    """Connecting, the proxy and TLS each have their own; each says what it waited for, and leaves nothing open."""
    net.handlers |= {("api.test", 6443): None, ("proxy.test", 3128): silent, ("localhost", 1): mute}
    cases = [
        (server(), dialling.CONNECT_TIMEOUT, "no connection to the API server api.test:6443 within"),
        (server(proxy=PROXY), dialling.PROXY_TIMEOUT, r"the proxy proxy.test:3128 .* gave no connection to api.test"),
        (
            ApiServer("localhost", 1, "", trusting(), "localhost", no_headers),
            dialling.TLS_TIMEOUT,
            "TLS with localhost was not done within",
        ),
    ]
    for target, seconds, said in cases:
        began = trio.current_time()
        with pytest.raises(UnreachableError, match=said):
            await dial(target)
        assert trio.current_time() - began == pytest.approx(seconds)
    assert net.left_open == 0


async def test_a_wrong_certificate(net: Net) -> None:
    """The name is checked: that of the server inside, and that of an https proxy outside."""
    net.handlers["api.test", 6443] = over_tls(echo)
    with pytest.raises(UnreachableError, match=r"TLS with other failed.*certificate"):
        await dial(ApiServer("api.test", 6443, "", trusting(), "other", no_headers))
    net.handlers["proxy.test", 3128] = over_tls(echo)
    with pytest.raises(UnreachableError, match=r"TLS with proxy.test failed.*certificate"):
        await dial(server(proxy=Proxy("proxy.test", 3128, trusting())))
    assert net.left_open == 0


async def test_cancelled_at_any_step(net: Net) -> None:
    """Given up by its user, a dial leaves no socket behind."""
    net.handlers |= {("proxy.test", 3128): mute, ("api.test", 6443): mute, ("api.test", 1): None}
    targets = [server(proxy=PROXY), server(tls=trusting()), ApiServer("api.test", 1, "", None, "", no_headers)]
    for target in targets:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dial, target)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert net.left_open == 0


def test_an_ipv6_address_has_brackets() -> None:
    """In the request target and in Host."""
    assert (authority("::1", 443), authority("a.test", 443)) == ("[::1]:443", "a.test:443")
