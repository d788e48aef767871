"""Ports that listen before the rest of portside is imported."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from forwarders import early_ports
from forwarders.early_ports import LOOPBACK, close_early, listen_early
from forwarders.listeners import bind
from forwarders.spec import ForwardSpec, PortBook, PortPolicy, PortRequest
from tests.support.sockets import free_port, listening

HEAVY = {"trio", "msgspec", "httpx", "ssl", "dataclasses"}


def spec(port: int) -> ForwardSpec:
    return ForwardSpec(id="web", address="127.0.0.1", group="web", port=PortRequest(PortPolicy.DEMANDED, port))


async def test_the_forward_takes_the_socket_over_with_its_connections() -> None:
    """A connection that came before is accepted, with the options of any other."""
    port = free_port()
    listen_early([port])
    with socket.create_connection(("127.0.0.1", port)):
        bound = await bind(spec(port), PortBook())
        try:
            accepted, _ = bound.sockets[0].accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        finally:
            bound.close()
    assert not any((address, port) in early_ports._open for _, address in LOOPBACK)


async def test_a_port_that_nobody_takes_is_free_again() -> None:
    """As if it had never listened."""
    port = free_port()
    listen_early([port])
    close_early()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    (await bind(spec(port), PortBook())).close()


def test_taken_ports_are_left_to_the_forward() -> None:
    """Its own bind reports who has the port."""
    with listening(0) as holder:
        port = holder.getsockname()[1]
        listen_early([port])
        assert ("127.0.0.1", port) not in early_ports._open
    close_early()


def test_a_port_that_is_half_taken_is_left_whole() -> None:
    """Otherwise portside itself would hold its other half, and name itself as the holder."""
    for _, taken in LOOPBACK:
        with listening(0, taken) as holder:
            port = holder.getsockname()[1]
            listen_early([port])
            assert not any((address, port) in early_ports._open for _, address in LOOPBACK)
    close_early()


def test_it_imports_nothing_that_takes_long() -> None:
    """Otherwise it would not be early."""
    code = f"import sys, forwarders.early_ports; print(*{HEAVY!r} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b""
