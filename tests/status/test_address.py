"""--status: what is an address, what is none, and whose it is."""

from __future__ import annotations

import socket

import pytest

from watcher.board.addresses import Address, is_loopback, listen, parse_status_address, status_url
from watcher.errors import UsageError


async def test_a_taken_port_is_a_mistake_of_usage() -> None:
    """It is found before anything is forwarded, and names what to do."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(
            UsageError, match=rf"--status 127.0.0.1:{port} cannot be bound: .*; give another port, or off"
        ):
            listen(Address("127.0.0.1", port))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("off", None),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        (":8080", ("127.0.0.1", 8080)),
        ("[::1]:65535", ("::1", 65535)),
        ("::1:80", ("::1", 80)),
        ("localhost:80", ("localhost", 80)),
        ("127.9.9.9:80", ("127.9.9.9", 80)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::]:80", ("::", 80)),
    ],
)
def test_addresses(text: str, address: tuple[str, int] | None) -> None:
    """ADDR:PORT as people write it."""
    assert parse_status_address(text) == (address and Address(*address))


@pytest.mark.parametrize(
    ("host", "whose"),
    [
        *(("localhost", "ours"), ("127.9.9.9", "ours"), ("::1", "ours")),
        *(("0.0.0.0", "everybody's"), ("::", "everybody's"), ("10.0.0.1", "everybody's")),
    ],
)
def test_whose_an_address_is(host: str, whose: str) -> None:
    """All addresses of a machine include those that others reach."""
    assert is_loopback(host) is (whose == "ours")


def test_all_addresses_are_reached_by_loopback() -> None:
    """The announced URL is reachable from this machine."""
    with listen(Address("0.0.0.0", 0)) as sock:
        assert status_url(sock) == f"http://127.0.0.1:{sock.getsockname()[1]}"


@pytest.mark.parametrize(
    "text",
    [
        *("", "on", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:²", "127.0.0.1:-1"),
        *("example.org:80", "127.0.0.1:" + "9" * 5000),
    ],
)
def test_what_is_no_status_address(text: str) -> None:
    """One line that names the option and the text."""
    with pytest.raises(UsageError, match="--status"):
        parse_status_address(text)
