"""Names: one question for many callers, none that holds others up, and the last address where nothing answers."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from forwarders.transports.connecting import AGAIN, MAX_ASKING, NONE_AFTER, NameResolver

ADDRESS = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 443))]


class System:
    """The system's resolver: it answers, fails, or swallows questions until `answers` is set again."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = threading.Event()
        self.answers.set()
        self.error: Exception | None = None
        self.over = threading.Event()

    def look_up(self, *_: Any) -> list[Any]:
        self.asked += 1
        if not self.answers.is_set():
            self.over.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "timed out")
        if self.error is not None:
            raise self.error
        return ADDRESS


@pytest.fixture
def system() -> Any:
    system = System()
    yield system
    system.over.set()


async def test_many_callers_share_a_question(system: System) -> None:
    """A hundred connects to one server ask once."""
    resolver = NameResolver(system.look_up)
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(resolver.getaddrinfo, b"api.test", 443)
    assert system.asked == 1


async def test_what_the_system_says_is_raised(system: System) -> None:
    """An unknown name is an error for each caller, and not remembered for long."""
    resolver = NameResolver(system.look_up)
    system.error = socket.gaierror(socket.EAI_NONAME, "not known")
    with pytest.raises(socket.gaierror, match="not known"):
        await resolver.getaddrinfo(b"api.test", 443)


async def test_a_resolver_that_swallows_questions(system: System, mock_clock: MockClock) -> None:
    """The known address serves meanwhile, other work finds its threads, and the first answer after that counts."""
    mock_clock.rate = 20
    resolver = NameResolver(system.look_up)
    assert await resolver.getaddrinfo(b"api.test", 443) == ADDRESS
    await trio.sleep(2 * AGAIN)
    system.answers.clear()
    async with trio.open_nursery() as nursery:  # ends although the system does not answer before the test's end
        for _ in range(100):
            nursery.start_soon(resolver.getaddrinfo, b"api.test", 443)
    began = trio.current_time()
    with pytest.raises(socket.gaierror, match="nothing has answered what the address of new"):
        await resolver.getaddrinfo(b"new.test", 443)
    assert trio.current_time() - began >= NONE_AFTER
    assert await trio.to_thread.run_sync(lambda: 7) == 7
    assert system.asked <= 2 * MAX_ASKING
    system.answers.set()
    with trio.fail_after(60):
        while True:
            try:
                assert await resolver.getaddrinfo(b"new.test", 443) == ADDRESS
                break
            except socket.gaierror:
                await trio.sleep(AGAIN)


async def test_connections_use_it(system: System) -> None:
    """trio's own happy eyeballs ask it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        place = listener.getsockname()
        answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place)]
        trio.socket.set_custom_hostname_resolver(NameResolver(lambda *_: answer))
        async with await trio.open_tcp_stream("api.test", place[1]) as stream:
            assert stream.socket.getpeername() == place
