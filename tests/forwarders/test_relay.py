"""One connection's life over a real socket pair: what is dialled again, what never is, how ends pass."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import cast

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from forwarders.errors import SessionLostError
from forwarders.holding import HeldDial
from forwarders.relay import REPLAY_LIMIT, Relay
from forwarders.session import Session
from forwarders.spec import Counts
from forwarders.transports.sockets import RawSocket
from tests.forwarders.dialler import Dialler
from tests.forwarders.peer import Peer, PeerStream


class Line:
    """A client's socket, the relay behind it, and the pod's side."""

    def __init__(
        self, client: trio.SocketStream, accepted: socket.socket, nursery: trio.Nursery, linger: float
    ) -> None:
        self.client = client
        self.peer = Peer()
        self.session = Session(self.peer.channel(), b"", lambda session, event: None)
        nursery.start_soon(self._run_session)
        self.dial = Dialler(lambda: self.session.open(80))
        self.counters = Counts(since=datetime.now(UTC))
        self.confirmed = trio.Event()
        dial = cast(HeldDial, self.dial)
        self.relay = Relay(RawSocket(accepted), dial, linger, self.counters, self.confirmed.set)
        self.over = trio.Event()
        self.scope = trio.CancelScope()
        nursery.start_soon(self._run)

    async def _run_session(self) -> None:
        with contextlib.suppress(SessionLostError):
            await self.session.run()

    async def _run(self) -> None:
        with self.scope:
            await self.relay.run()
        self.over.set()

    async def accept(self) -> PeerStream:
        return await self.peer.accept()


def connected() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection over loopback: a socketpair(2) knows neither resets nor half-closed orphans."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        return client, server.accept()[0]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    client, accepted = connected()
    with client, accepted:
        yield client, accepted


@pytest.fixture
def line(ends: tuple[socket.socket, socket.socket], nursery: trio.Nursery) -> Line:
    return make_line(ends, nursery, linger=10.0)


def make_line(ends: tuple[socket.socket, socket.socket], nursery: trio.Nursery, linger: float) -> Line:
    client, accepted = ends
    client.settimeout(0)
    return Line(trio.SocketStream(trio.socket.from_stdlib_socket(client)), accepted, nursery, linger)


async def test_the_runtime_confirms_a_connection_that_sends_nothing(line: Line) -> None:
    """Its answer to a PING behind the request: an application may listen, and no byte was sent for that."""
    line.peer.answering = False
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert not line.confirmed.is_set()
    line.peer.answering = True
    line.peer.work()
    await line.accept()
    await line.confirmed.wait()
    assert line.peer.payloads == []


async def received(client: trio.SocketStream) -> bytes:
    """Until the good end."""
    data = b""
    async for chunk in client:
        data += chunk
    return data


async def test_a_request_and_its_answer(line: Line) -> None:
    """Bytes go through, the end is a good one, the dial is told that it worked."""
    stream = await line.accept()
    await line.client.send_all(b"question")
    assert await stream.receive_some() == b"question"
    await stream.send_all(b"answer")
    await stream.aclose()
    assert await received(line.client) == b"answer"
    await line.client.aclose()
    await line.over.wait()
    assert (line.relay.error, line.relay.sent, line.relay.received) == ("", 8, 6)
    assert (line.counters.sent, line.counters.received) == (8, 6)
    assert (line.dial.dials, line.dial.successes) == (1, 1)


async def test_the_pod_speaks_first(line: Line) -> None:
    """A protocol whose server greets needs no byte of the client's."""
    stream = await line.accept()
    await stream.send_all(b"220 ready")
    assert await line.client.receive_some() == b"220 ready"


async def test_a_refused_dial_is_dialled_again_with_everything_sent(line: Line) -> None:
    """After the runtime's dial error the next tunnel gets every byte the client sent so far, in order, once."""
    stream = await line.accept()
    await line.client.send_all(b"first ")
    assert await stream.receive_some() == b"first "
    stream.refuse()
    stream = await line.accept()
    await line.client.send_all(b"second")
    got = b""
    while len(got) < len(b"first second"):
        got += await stream.receive_some()
    assert got == b"first second"
    assert (line.dial.dials, line.dial.refusals) == (2, 1)


async def test_nothing_is_sent_to_a_suspect_before_its_probation(line: Line) -> None:
    """A pod that refused is dialled without bytes first: bytes for a closed port cost the session a worker."""
    await line.client.send_all(b"request")
    stream = await line.accept()
    stream.refuse()
    stream = await line.accept()
    began = trio.current_time()
    assert await stream.receive_some() == b"request"
    assert trio.current_time() - began >= 0.1


async def test_an_error_that_is_no_dial_error_is_not_tried_again(line: Line) -> None:
    """Bytes may have reached an application: the client gets a reset, not a second try and not a clean end."""
    stream = await line.accept()
    await line.client.send_all(b"POST")
    await stream.receive_some()
    stream.refuse("error forwarding: read: connection reset by peer")
    with pytest.raises(trio.BrokenResourceError):
        await received(line.client)
    await line.over.wait()
    assert line.dial.dials == 1
    assert "reset by peer" in line.relay.error


async def test_a_dial_error_behind_an_answer_is_not_tried_again(line: Line) -> None:
    """Once a byte came back nothing is ever sent twice, whatever the runtime says."""
    stream = await line.accept()
    await stream.send_all(b"x")
    assert await line.client.receive_some() == b"x"
    stream.refuse()
    with pytest.raises(trio.BrokenResourceError):
        await received(line.client)
    await line.over.wait()
    assert line.dial.dials == 1


async def test_short_data_is_never_a_clean_end(line: Line) -> None:
    """A session lost in mid-answer resets the client's connection."""
    stream = await line.accept()
    await stream.send_all(b"half")
    assert await line.client.receive_some() == b"half"
    line.peer.close()
    with pytest.raises(trio.BrokenResourceError):
        await received(line.client)


async def test_a_large_upload_waits_for_proof_and_is_then_not_replayed(line: Line, nursery: trio.Nursery) -> None:
    """More than REPLAY_LIMIT leaves the client only once the pod's end has the first part; then it is too late."""
    stream = await line.accept()
    nursery.start_soon(send_ignoring_breaks, line.client, bytes(8 * REPLAY_LIMIT))
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert line.relay.sent < 3 * REPLAY_LIMIT
    got = 0
    while got < 4 * REPLAY_LIMIT:
        got += len(await stream.receive_some())
    stream.refuse()
    await line.over.wait()
    assert line.dial.dials == 1
    assert "refused" in line.relay.error


async def send_ignoring_breaks(client: trio.SocketStream, data: bytes) -> None:
    try:
        await client.send_all(data)
    except trio.BrokenResourceError:
        return


async def test_a_large_upload_that_is_refused_is_replayed_whole(line: Line, nursery: trio.Nursery) -> None:
    """What was read before the refusal, more than one read of it, arrives at the next tunnel unbroken."""
    data = bytes(range(256)) * (8 * REPLAY_LIMIT // 256)
    stream = await line.accept()
    nursery.start_soon(line.client.send_all, data)
    await trio.testing.wait_all_tasks_blocked(0.05)
    stream.refuse()
    stream = await line.accept()
    got = b""
    while len(got) < len(data):
        got += await stream.receive_some()
    assert got == data


async def test_a_fin_is_held_until_the_answer_ends(line: Line) -> None:
    """The runtime cuts an answer off 1 s after a FIN, so a half-closed client's waits; its late answer arrives."""
    stream = await line.accept()
    await line.client.send_all(b"question")
    await line.client.send_eof()
    assert await stream.receive_some() == b"question"
    with trio.move_on_after(0.2) as scope:
        await stream.receive_some()
    assert scope.cancelled_caught
    await stream.send_all(b"late answer")
    await stream.aclose()
    assert await received(line.client) == b"late answer"
    await line.over.wait()
    assert line.relay.error == ""


async def test_a_fin_is_passed_on_after_the_linger(
    ends: tuple[socket.socket, socket.socket], nursery: trio.Nursery
) -> None:
    """With nothing coming for as long as the linger, the application gets its EOF."""
    line = make_line(ends, nursery, linger=0.1)
    stream = await line.accept()
    await line.client.send_eof()
    with trio.fail_after(60):
        assert await stream.receive_all() == b""


async def test_a_client_that_closed_is_passed_on_at_once(line: Line) -> None:
    """Nobody is left to read an answer: the FIN does not wait for the linger."""
    stream = await line.accept()
    await line.client.send_all(b"bye")
    await line.client.aclose()
    with trio.fail_after(60):
        assert await stream.receive_all() == b"bye"
    with contextlib.suppress(trio.BrokenResourceError):  # the tunnel may be gone already
        await stream.send_all(b"too late")
    await stream.aclose()
    await line.over.wait()


async def test_what_a_client_sent_before_it_closed_is_taken_before_its_connection_is_given_up(line: Line) -> None:
    """No reset overtakes it: the pod's end is slow, the client is gone, and the tunnel stays until it has all."""
    line.peer.answering = False
    await line.client.send_all(b"bye")
    await line.client.aclose()
    await trio.sleep(0.3)
    assert line.session.load == 1
    line.peer.answering = True
    line.peer.work()
    stream = await line.accept()
    with trio.fail_after(60):
        assert await stream.receive_all() == b"bye"
        await line.over.wait()


async def test_a_tunnel_that_breaks_before_anything_was_sent_is_replaced(line: Line) -> None:
    """While a port is recently_refused nothing goes to it: where its session breaks then, the client need not know."""
    await line.client.send_all(b"request")
    (await line.accept()).refuse()
    stream = await line.accept()
    stream.refuse("the session broke")
    stream = await line.accept()
    assert await stream.receive_some() == b"request"
    assert (line.dial.dials, line.dial.refusals, line.dial.losses) == (3, 1, 1)
    assert line.dial.ends == 0


async def test_a_tunnel_that_breaks_behind_a_greeting_is_not_replaced(line: Line) -> None:
    """What the client has read cannot be taken back."""
    (await line.accept()).refuse()
    stream = await line.accept()
    await stream.send_all(b"220 ready")
    assert await line.client.receive_some() == b"220 ready"
    stream.refuse("the session broke")
    with pytest.raises(trio.BrokenResourceError):
        await received(line.client)
    await line.over.wait()
    assert (line.dial.dials, line.dial.ends) == (2, 1)


async def test_a_client_that_resets(line: Line) -> None:
    """A reset from the client resets the pod's end at once."""
    stream = await line.accept()
    await line.client.send_all(b"x")
    await stream.receive_some()
    RawSocket(socket.socket(fileno=line.client.socket.detach())).reset()
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    await line.over.wait()
    assert "client's connection broke" in line.relay.error


async def test_a_client_that_stays_after_the_end(line: Line) -> None:
    """After a good end the client has a second to close; then its connection is closed for it."""
    stream = await line.accept()
    await stream.send_all(b"answer")
    await stream.aclose()
    assert await line.client.receive_some() == b"answer"
    assert await line.client.receive_some() == b""
    with trio.fail_after(60):
        await line.over.wait()
    assert line.relay.error == ""


@pytest.mark.parametrize("at", ["dial", "up", "down", "fin", "close"])
async def test_cancelled_anywhere_nothing_stays_open(
    at: str, line: Line, nursery: trio.Nursery, ends: tuple[socket.socket, socket.socket]
) -> None:
    """Cancellation in each wait closes the local socket and gives the tunnel up."""
    if at == "dial":
        line.scope.cancel()
    stream = await line.accept() if at != "dial" else None
    if stream is not None:
        match at:
            case "up":
                nursery.start_soon(send_ignoring_breaks, line.client, bytes(8 * REPLAY_LIMIT))
            case "down":
                nursery.start_soon(send_until_broken, stream)
            case "fin":
                await line.client.send_eof()
            case "close":
                await stream.aclose()
                assert await line.client.receive_some() == b""
        await trio.testing.wait_all_tasks_blocked(0.02)
        line.scope.cancel()
    await line.over.wait()
    assert ends[1].fileno() == -1
    assert line.session.load == 0


async def send_until_broken(stream: PeerStream) -> None:
    try:
        while True:
            await stream.send_all(bytes(100_000))
    except trio.BrokenResourceError:
        return


async def test_loss_and_cancellation_at_once(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A session lost in the moment of cancellation leaves nothing but the cancellation: no group escapes."""
    for ticks in range(6):
        client, accepted = connected()
        with client, accepted:
            async with trio.open_nursery() as inner:
                line = make_line((client, accepted), inner, linger=1.0)
                await line.accept()
                line.peer.close()
                for _ in range(ticks):
                    await trio.lowlevel.checkpoint()
                line.scope.cancel()
                await line.over.wait()
                line.session.close()
            await line.client.aclose()


def narrow(ends: tuple[socket.socket, socket.socket]) -> None:
    """The kernel keeps some 100 KB between them, not megabytes."""
    for sock, option in zip(ends, (socket.SO_RCVBUF, socket.SO_SNDBUF), strict=True):
        sock.setsockopt(socket.SOL_SOCKET, option, 65536)


async def test_a_client_that_reads_late_gets_all_of_it_in_order(
    line: Line, ends: tuple[socket.socket, socket.socket]
) -> None:
    """Data waits while the client's socket has no room; after the client has caught up, data is sent at once again."""
    narrow(ends)
    stream = await line.accept()
    sent = b"".join(bytes([number % 251]) * 1000 for number in range(4000))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, sent)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert line.counters.received < len(sent)
        got = b""
        while len(got) < len(sent):
            got += await line.client.receive_some()
    assert got == sent
    for word in (b"and", b"then"):
        await stream.send_all(word)
        assert await line.client.receive_some() == word
    await stream.aclose()
    assert await received(line.client) == b""
    await line.over.wait()
    assert (line.relay.error, line.counters.received) == ("", len(sent) + 7)


async def test_the_end_waits_for_a_client_that_reads_late(
    line: Line, ends: tuple[socket.socket, socket.socket]
) -> None:
    """The pod's end comes to the client behind the last byte."""
    narrow(ends)
    stream = await line.accept()
    size = 2_000_000
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, bytes(size))
        await trio.testing.wait_all_tasks_blocked(0.05)
        nursery.start_soon(read_by_and_by, line.client, size)
    await stream.aclose()
    assert await received(line.client) == b""
    await line.over.wait()
    assert line.relay.error == ""


async def read_by_and_by(client: trio.SocketStream, size: int) -> None:
    while size:
        size -= len(await client.receive_some(min(size, 100_000)))
