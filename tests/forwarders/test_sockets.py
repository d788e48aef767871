"""Sockets to API servers and to local clients: which the kernel may end, and how soon a path that is back is used."""

from __future__ import annotations

import socket
import sys

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from forwarders.system import tcp
from forwarders.system.tcp import local_options, set_options
from forwarders.transports.connecting import ATTEMPT_EVERY, ATTEMPT_LIFE, connect_tcp


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_USER_TIMEOUT is Linux' own")
async def test_a_reader_that_takes_its_time_is_not_ended_by_the_kernel() -> None:
    """TCP_USER_TIMEOUT would end a local connection whose client does not read; one to an API server has it."""
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        server = await connect_tcp("127.0.0.1", listener.getsockname()[1])
        local, _ = listener.accept()
        with local:
            set_options(local, local_options())
            ends = [sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) for sock in (local, server.socket)]
            assert ends == [0, tcp.USER_TIMEOUT_MS]
            assert local.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        server.close()


class Network:
    """In the place of trio.open_tcp_stream: swallows attempts until `back`, refuses where `refusing`."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.under_way = self.most = 0
        self.back = float("inf")
        self.refusing = False
        self.made: list[trio.SocketStream] = []

    async def open_tcp_stream(self, host: str, port: int) -> trio.SocketStream:
        self.begun.append(trio.current_time())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if self.refusing:
                raise ConnectionRefusedError(111, "refused")
            if trio.current_time() < self.back:
                await trio.sleep_forever()
            await trio.sleep(0.05)
            with socket.create_server(("127.0.0.1", 0)) as listener:
                ours = trio.socket.from_stdlib_socket(socket.create_connection(listener.getsockname()))
            self.made.append(trio.SocketStream(ours))
            return self.made[-1]
        finally:
            self.under_way -= 1


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()
    monkeypatch.setattr(trio, "open_tcp_stream", network.open_tcp_stream)
    return network


async def test_a_path_that_is_back_is_used_within_a_second(network: Network, autojump_clock: MockClock) -> None:
    """SYNs vanish for a while: the next attempt begins half a second later, and few are under way at once."""
    network.back = trio.current_time() + 4.01
    with trio.fail_after(5):
        sock = await connect_tcp("api.test", 6443)
    assert trio.current_time() - network.back < 1
    assert network.most <= ATTEMPT_LIFE / ATTEMPT_EVERY + 1
    sock.close()


async def test_what_is_refused_is_said_at_once(network: Network, autojump_clock: MockClock) -> None:
    """Only silence is answered by another attempt."""
    network.refusing = True
    with pytest.raises(ConnectionRefusedError):
        await connect_tcp("api.test", 6443)
    assert len(network.begun) == 1


async def test_a_cancelled_connect_leaves_no_socket(network: Network, autojump_clock: MockClock) -> None:
    """Whenever the caller's deadline comes, a connection that was made in that moment is closed."""
    network.back = trio.current_time()
    for ticks in range(8):
        with trio.move_on_after(0.05) as scope:
            await connect_tcp("api.test", 6443)
        for _ in range(ticks):
            await trio.lowlevel.checkpoint()
        closed = [stream.socket.fileno() == -1 for stream in network.made]
        assert all(closed) or not scope.cancelled_caught
    assert network.under_way == 0
