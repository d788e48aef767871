"""Two connections face to face in memory: every event at one end follows from a call at the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.spdy_peer import SpdyPeer
from forwarders.errors import LocalProtocolError, RemoteProtocolError
from forwarders.wire import connection as module
from forwarders.wire import frames, streams
from forwarders.wire.headers import HeaderCompressor
from tests.wire.feeding import Payload, assert_same_however_cut, cut, feed_in, joined

HEADERS = (("streamtype", "data"), ("port", "80"))


class Ends:
    """A client and a server end, and what each has told so far."""

    def __init__(self) -> None:
        self.client, self.server = SpdyPeer("client"), SpdyPeer("server")

    def to_server(self) -> list[object]:
        return joined(self.server.receive_data(self.client.take()))

    def to_client(self) -> list[object]:
        return joined(self.client.receive_data(self.server.take()))


@pytest.fixture
def ends() -> Ends:
    return Ends()


def test_a_whole_conversation(ends: Ends) -> None:
    """Open, accept, data both ways, both FINs: both ends forget the stream."""
    stream = ends.client.open_stream(HEADERS)
    ends.client.send_data(stream, b"question", fin=True)
    assert ends.to_server() == [
        streams.StreamOpened(1, HEADERS),
        Payload(1, b"question"),
        streams.StreamEnded(1),
    ]
    ends.server.reply(stream)
    ends.server.send_data(stream, b"answer")
    ends.server.send_data(stream, b"", fin=True)
    assert ends.to_client() == [streams.StreamAccepted(1), Payload(1, b"answer"), streams.StreamEnded(1)]
    assert ends.client.open_streams == ends.server.open_streams == 0


def test_bytes_leave_once_and_are_counted(ends: Ends) -> None:
    """`pending` is what `take` returns; what was taken is gone."""
    stream = ends.client.open_stream(HEADERS)
    ends.client.send_data(stream, memoryview(b"view"))
    pending = ends.client.pending
    assert len(ends.client.take()) == pending > 0
    assert (ends.client.pending, ends.client.take()) == (0, b"")


@pytest.mark.parametrize(("role", "ids"), [("client", [1, 3, 5]), ("server", [2, 4, 6])])
def test_ids_are_odd_for_clients_and_rise(role: str, ids: list[int]) -> None:
    """Stream and PING ids of a client are odd, of a server even (draft 3.1, sections 2.3.2 and 2.6.5)."""
    end = SpdyPeer("client" if role == "client" else "server")
    assert [end.open_stream(()) for _ in range(3)] == ids
    assert [end.ping() for _ in range(3)] == ids


def test_ping_ids_wrap() -> None:
    """A session that outlives 2^31 PINGs goes on with its own kind of id."""
    for role, last, after in (("client", 2**32 - 1, 1), ("server", 2**32 - 2, 2)):
        end = SpdyPeer("client" if role == "client" else "server")
        end._next_ping_id = last - 2
        assert [end.ping(), end.ping(), end.ping()] == [last - 2, last, after]


def test_ids_run_out(ends: Ends) -> None:
    """Behind the last id no stream can be opened; skipping leaves ids out."""
    ends.client.skip_stream_ids(1)
    assert ends.client.open_stream(()) == 3
    ends.client._next_stream_id = frames.MAX_STREAM_ID
    assert ends.client.open_stream(()) == frames.MAX_STREAM_ID
    with pytest.raises(LocalProtocolError, match="used up"):
        ends.client.open_stream(())


def test_half_closed_from_the_start(ends: Ends) -> None:
    """A stream opened with FIN sends nothing, and still receives."""
    stream = ends.client.open_stream(HEADERS, fin=True)
    assert ends.to_server() == [streams.StreamOpened(1, HEADERS), streams.StreamEnded(1)]
    with pytest.raises(LocalProtocolError, match="SEND_DATA on stream 1, which is HALF_CLOSED_LOCAL"):
        ends.client.send_data(stream, b"x")
    ends.server.send_data(stream, b"text", fin=True)
    assert ends.to_client() == [Payload(1, b"text"), streams.StreamEnded(1)]
    assert not ends.client.is_open(stream)


@pytest.mark.parametrize("reset_by", ["client", "server"])
def test_reset_ends_both_directions(ends: Ends, reset_by: str) -> None:
    """RST_STREAM from either end: the other hears of it, both forget, frames under way are dropped."""
    stream = ends.client.open_stream(HEADERS)
    ends.to_server()
    if reset_by == "client":
        ends.server.send_data(stream, b"under way")
        ends.client.reset(stream)
        assert ends.to_client() == [streams.StrayDataReceived(stream)]
        assert ends.to_server() == [streams.StreamReset(1, frames.CANCEL)]
    else:
        ends.client.send_data(stream, b"under way", fin=True)
        ends.server.reset(stream, frames.REFUSED_STREAM)
        assert ends.to_server() == [streams.StrayDataReceived(stream)]
        assert ends.to_client() == [streams.StreamReset(1, frames.REFUSED_STREAM)]
    assert ends.client.open_streams == ends.server.open_streams == 0


def test_pings_and_go_away(ends: Ends) -> None:
    """A PING comes back as answered; the peer's own is told apart by its id; GOAWAY names the last stream."""
    ends.client.open_stream(HEADERS)
    ping = ends.client.ping()
    assert ends.to_server()[1:] == [streams.PingReceived(ping)]
    ends.server.answer(ping)
    theirs = ends.server.ping()
    ends.server.go_away()
    assert ends.to_client() == [
        streams.PingAnswered(ping),
        streams.PingReceived(theirs),
        streams.GoAwayReceived(1),
    ]


@pytest.mark.parametrize(
    "misuse",
    [
        lambda end: end.reply(1),
        lambda end: end.send_data(1, b"x"),
        lambda end: end.reset(1),
    ],
    ids=["reply", "send_data", "reset"],
)
def test_misuse_is_our_own_error(misuse: Callable[[SpdyPeer], None]) -> None:
    """What is sent on a stream that is not open raises LocalProtocolError and queues nothing."""
    end = SpdyPeer("server")
    with pytest.raises(LocalProtocolError, match="stream 1 is not open"):
        misuse(end)
    assert end.pending == 0


def syn(stream_id: int, compressor: HeaderCompressor, *, fin: bool = False) -> bytes:
    return frames.encode(frames.SynStream(stream_id, compressor.compress(HEADERS), fin))


@pytest.mark.parametrize("ids", [[2], [3, 1], [1, 1]], ids=["even", "falling", "twice"])
def test_wrong_stream_ids(ids: list[int]) -> None:
    """A client's SYN_STREAM with an even id, or one that does not rise, is refused."""
    compressor = HeaderCompressor()
    data = b"".join(syn(stream_id, compressor) for stream_id in ids)
    with pytest.raises(RemoteProtocolError, match=f"SYN_STREAM with id {ids[-1]}"):
        SpdyPeer("server").receive_data(data)


def test_answers_that_were_taken_do_not_count(ends: Ends) -> None:
    """So many may wait each time, and not one more."""
    for _ in range(2):
        for _ in range(module.MAX_ANSWERS):
            ends.server.answer(1)
        ends.server.take()
    for _ in range(module.MAX_ANSWERS):
        ends.server.answer(1)
    with pytest.raises(RemoteProtocolError, match="does not read"):
        ends.server.answer(1)


def test_streams_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer cannot open more streams at once than the bound."""
    monkeypatch.setattr(module, "MAX_STREAMS", 2)
    compressor = HeaderCompressor()
    server = SpdyPeer("server")
    server.receive_data(syn(1, compressor) + syn(3, compressor))
    with pytest.raises(RemoteProtocolError, match="more than 2 streams"):
        server.receive_data(syn(5, compressor))


def test_blocks_of_streams_that_are_gone_keep_the_context(ends: Ends) -> None:
    """SYN_REPLY and HEADERS for a stream that was reset still pass the zlib context; the next block is readable."""
    first = ends.client.open_stream(HEADERS)
    second = ends.client.open_stream(HEADERS)
    ends.to_server()
    ends.client.reset(first)
    ends.server.reply(first)
    ends.server.reply(second)
    assert ends.to_client() == [streams.StreamAccepted(first), streams.StreamAccepted(second)]


def test_headers_and_replies_may_carry_fin(ends: Ends) -> None:
    """FIN on SYN_REPLY or HEADERS ends the peer's direction once; on an ended or unknown stream it says nothing."""
    for kind in (frames.SynReply, frames.HeadersFrame):
        stream = ends.client.open_stream(())
        compressor = ends.server._compressor
        data = b"".join(frames.encode(kind(stream, compressor.compress(()), fin=True)) for _ in range(2))
        got = ends.client.receive_data(data)
        assert [e for e in got if isinstance(e, streams.StreamEnded)] == [streams.StreamEnded(stream)]


def test_data_after_their_fin_is_dropped(ends: Ends) -> None:
    """A peer that goes on after its FIN is not believed."""
    stream = ends.client.open_stream(())
    data = frames.data_head(stream, 1, fin=True) + b"a" + frames.data_head(stream, 1, fin=True) + b"b"
    assert joined(ends.client.receive_data(data)) == [Payload(1, b"a"), streams.StreamEnded(1)]


@pytest.mark.parametrize("stream", [1, 2, 99, 0x48545450], ids=["ours", "theirs", "later", "HTTP"])
def test_data_of_a_stream_that_never_was(ends: Ends, stream: int) -> None:
    """DATA for an id that nobody has opened yet is no SPDY: some other bytes came, which else would be swallowed."""
    with pytest.raises(RemoteProtocolError, match="never opened"):
        ends.client.receive_data(frames.data_head(stream, 2**20, fin=False) + b"x")


def test_resets_and_ignored_frames_for_nobody(ends: Ends) -> None:
    """RST_STREAM for an unknown stream and frames without effect make no event."""
    settings = frames.encode(frames.Ping(1)).replace(b"\x00\x06", b"\x00\x04", 1)
    assert ends.client.receive_data(frames.encode(frames.RstStream(9, 1)) + settings) == []


def test_every_cut_gives_the_same_events() -> None:
    """A server's whole conversation is told the same however its bytes arrive."""
    sender = SpdyPeer("client")
    stream = sender.open_stream(HEADERS)
    sender.send_data(stream, b"some bytes")
    sender.ping()
    sender.open_stream(HEADERS, fin=True)
    sender.reset(stream)
    sender.go_away()
    data = sender.take()
    make: Callable[[], Callable[[bytes], Sequence[object]]] = lambda: SpdyPeer("server").receive_data  # noqa: E731 - a maker of feeds is one expression
    assert_same_however_cut(make, data, SpdyPeer("server").receive_data(data))


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4), st.sampled_from(["client", "server"]))
def test_random_bytes_are_refused_by_name_only(data: bytes, places: list[int], role: str) -> None:
    """Bytes of any kind make events or RemoteProtocolError, in either role."""
    try:
        feed_in(lambda: SpdyPeer("client" if role == "client" else "server").receive_data, cut(data, places))
    except RemoteProtocolError:
        return
