"""Tunnels as streams: trio's own conformance checks on them, over a session to a peer in memory."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from forwarders.errors import DialError, TunnelError
from forwarders.session import Session
from forwarders.tunnel import classify
from tests.forwarders.peer import REFUSED, Peer, PeerStream
from tests.forwarders.streams import TunnelStream


class Maker:
    """Makes tunnels with the pod's end of each; the clogged ones are full in one direction, as a paused session is."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    async def plain(self) -> tuple[TunnelStream, PeerStream]:
        peer = Peer()
        session = Session(peer.channel(), b"", lambda session, event: None)
        self._nursery.start_soon(session.run)
        return TunnelStream(session, session.open(80)), await peer.accept()

    async def upward(self) -> tuple[TunnelStream, PeerStream]:
        tunnel, stream = await self.plain()
        await clog(tunnel)
        return tunnel, stream

    async def flipped(self) -> tuple[PeerStream, TunnelStream]:
        tunnel, stream = await self.plain()
        return stream, tunnel

    async def downward(self) -> tuple[PeerStream, TunnelStream]:
        stream, tunnel = await self.flipped()
        await clog(stream)
        return stream, tunnel


async def clog(sender: trio.abc.SendStream) -> None:
    while True:
        with trio.move_on_after(1) as scope:
            await sender.send_all(b"x" * 16_000)
        if scope.cancelled_caught:
            return


async def test_trios_checks_of_a_half_closeable_stream(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """A tunnel is a half-closeable stream in every respect that trio can check."""
    await trio.testing.check_half_closeable_stream(Maker(nursery).plain, None)
    nursery.cancel_scope.cancel()


async def test_trios_checks_of_a_clogged_upload(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    """Sending waits for the application to read, one sender at a time, and wakes when either end closes."""
    maker = Maker(nursery)
    await trio.testing.check_one_way_stream(maker.plain, maker.upward)
    tunnel, _ = await maker.upward()
    with pytest.RaisesGroup(trio.BusyResourceError):
        async with trio.open_nursery() as senders:
            senders.start_soon(tunnel.send_all, b"x")
            await trio.testing.wait_all_tasks_blocked()
            await tunnel.send_eof()
    nursery.cancel_scope.cancel()


async def test_trios_checks_of_a_clogged_download(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Receiving makes room for the application to send on, and wakes when either end closes."""
    maker = Maker(nursery)
    await trio.testing.check_one_way_stream(maker.flipped, maker.downward)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("text", "dial", "sandbox_gone"),
    [
        (REFUSED, True, False),
        ('network namespace for sandbox "abc" is closed', True, True),
        ("error forwarding port 80: read: connection reset by peer", False, False),
        ("timed out", False, False),
    ],
)
def test_what_the_runtimes_texts_prove(text: str, *, dial: bool, sandbox_gone: bool) -> None:
    """Only a text that says that no connection came about permits another dial."""
    error = classify(text)
    assert isinstance(error, DialError) is dial
    assert getattr(error, "sandbox_gone", False) is sandbox_gone
    assert isinstance(error, TunnelError)


def test_a_text_that_is_not_understood_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Once for each kind, without what varies, with a request to report it."""
    for port in (80, 81):
        classify(f"port {port}: a text that no runtime of today has")
        classify(REFUSED)
    assert caplog.messages == [
        "the container runtime gave an error that portside does not know; please report it: "
        "port …: a text that no runtime of today has"
    ]
