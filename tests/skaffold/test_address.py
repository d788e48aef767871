"""Where Skaffold's API is."""

from __future__ import annotations

import socket

import pytest

from watcher.errors import UsageError
from watcher.skaffold.http_request import free_port, parse_api_address


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:50051", "http://127.0.0.1:50051"),
        ("http://localhost:50051/", "http://localhost:50051"),
        ("localhost:50051", "http://localhost:50051"),
        ("50051", "http://127.0.0.1:50051"),
        ("http://[::1]:50051", "http://[::1]:50051"),
    ],
)
def test_spellings_of_an_address(text: str, url: str) -> None:
    """A URL, host and port, or a bare port of this machine."""
    assert parse_api_address(text).url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://127.0.0.1:1",
        "http://127.0.0.1",
        "http://h:99999",
        "http://h:1/v2",
        "ftp://h:1",
        "http://u:hunter2@h:1",
        "http://[::1",
        "0",
    ],
)
def test_malformed_address(url: str) -> None:
    """An address that cannot be Skaffold's is wrong usage, found before anything is opened; a password is not shown."""
    with pytest.raises(UsageError, match=r"write http://127\.0\.0\.1:PORT") as raised:
        parse_api_address(url)
    assert "hunter2" not in str(raised.value)


def test_free_port_is_bindable() -> None:
    """The chosen port is one of 127.0.0.1 that Skaffold can bind."""
    with socket.socket() as skaffold:
        skaffold.bind(("127.0.0.1", free_port()))
