"""One byte stream inside binary messages: whatever their boundaries, and whatever else comes."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage

from forwarders.errors import LocalProtocolError, RemoteProtocolError
from forwarders.wire.websocket import MESSAGE_SIZE, WebSocketStream


class Server:
    """The other end, by wsproto itself."""

    def __init__(self) -> None:
        self.socket = Connection(ConnectionType.SERVER)

    def message(self, data: bytes, *, fragments: int = 1) -> bytes:
        """In frames that are not final, and an empty one that is, as gorilla writes; one fragment: a plain message."""
        if fragments == 1:
            return self.socket.send(BytesMessage(data))
        size = -(-len(data) // (fragments - 1)) or 1
        pieces = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
        sent = [self.socket.send(BytesMessage(piece, message_finished=False)) for piece in pieces]
        return b"".join(sent) + self.socket.send(BytesMessage(b""))

    def read(self, data: bytes) -> list[object]:
        self.socket.receive_data(data)
        return list(self.socket.events())


def cut(data: bytes, *cuts: int) -> list[bytes]:
    edges = [0, *sorted(position % (len(data) + 1) for position in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


PIECES = st.lists(st.tuples(st.binary(max_size=300), st.integers(1, 4)), max_size=8)


@given(PIECES, st.lists(st.integers(min_value=0), max_size=6))
def test_boundaries_mean_nothing(messages: list[tuple[bytes, int]], cuts: list[int]) -> None:
    """However the stream is cut into messages, frames and reads, the same bytes come: whole, in pieces, one by one."""
    server = Server()
    data = b"".join(server.message(piece, fragments=fragments) for piece, fragments in messages)
    wanted = b"".join(piece for piece, _ in messages)
    for pieces in ([data], cut(data, *cuts), [data[at : at + 1] for at in range(len(data))]):
        stream = WebSocketStream()
        assert b"".join(stream.receive_data(piece) for piece in pieces) == wanted
        assert not stream.ended


def test_a_pong_that_nobody_asked_for_says_nothing() -> None:
    """RFC 6455, 5.5.3: a heartbeat of the other side's."""
    stream, server = WebSocketStream(), Server()
    assert stream.receive_data(server.socket.send(Pong()) + server.message(b"x")) == b"x"
    assert stream.take() == b""


def test_a_frame_is_handed_out_as_it_comes() -> None:
    """A long frame does not wait for its end: nothing grows with its size."""
    data = Server().message(bytes(1000))
    assert WebSocketStream().receive_data(data[:500]) == bytes(500 - 4)


@given(st.binary(max_size=3 * MESSAGE_SIZE))
def test_what_we_send_is_masked_and_whole(data: bytes) -> None:
    """The server reads the same bytes from masked frames, each a whole message of bounded size."""
    frames = WebSocketStream().frame(data)
    events = Server().read(frames)
    assert all(isinstance(event, BytesMessage) for event in events)
    assert b"".join(event.data for event in events if isinstance(event, BytesMessage)) == data
    assert not frames or frames[1] & 0x80


def test_a_long_message_leaves_in_several() -> None:
    """None is longer than MESSAGE_SIZE; nothing to send is no message."""
    data = bytes(2 * MESSAGE_SIZE + 1)
    read = [event for event in Server().read(WebSocketStream().frame(data)) if isinstance(event, BytesMessage)]
    assert b"".join(event.data for event in read) == data
    assert max(len(event.data) for event in read) <= MESSAGE_SIZE
    assert WebSocketStream().frame(b"") == b""


@given(st.lists(st.binary(max_size=40), max_size=5), st.lists(st.integers(min_value=0), max_size=3))
def test_arbitrary_bytes(pieces: list[bytes], cuts: list[int]) -> None:
    """Bytes from nowhere are RemoteProtocolError or a stream, never another exception; and an error stays one."""
    data = b"".join(pieces)
    for parts in (pieces, cut(data, *cuts), [data[at : at + 1] for at in range(len(data))]):
        stream = WebSocketStream()
        try:
            for part in parts:
                stream.receive_data(part)
                stream.take()
        except RemoteProtocolError as error:
            with pytest.raises(RemoteProtocolError, match=str(error)[:10]):
                stream.receive_data(b"")


EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(BytesMessage, st.binary(max_size=200)),
    st.builds(TextMessage, st.text(max_size=20)),
    st.builds(Ping, st.binary(max_size=125)),
    st.builds(Pong, st.binary(max_size=125)),
    st.builds(CloseConnection, st.sampled_from([1000, 1001, 1011, 3000, 4999]), st.text(max_size=30)),
)


@given(st.lists(EVENTS, max_size=6), st.integers(min_value=0), st.binary(max_size=3))
def test_real_frames_spoilt(events: list[Event], at: int, spoilt: bytes) -> None:
    """Good frames with a few bytes of them replaced: still nothing but our error."""
    server = Server()
    data = b""
    for event in events:
        with contextlib.suppress(Exception):  # wsproto refuses to send behind a close
            data += server.socket.send(event)
    at %= len(data) + 1
    stream = WebSocketStream()
    with contextlib.suppress(RemoteProtocolError):
        stream.receive_data(data[:at] + spoilt + data[at + len(spoilt) :])
    stream.take()


def test_a_ping_is_answered() -> None:
    """With its own payload, once, among data and as a masked frame."""
    server, stream = Server(), WebSocketStream()
    data = server.message(b"a") + server.socket.send(Ping(b"there?")) + server.message(b"b")
    assert stream.receive_data(data) == b"ab"
    assert server.read(stream.take()) == [Pong(b"there?")]
    assert stream.take() == b""


@pytest.mark.parametrize("close", [b"\x88\x02\x03\xe8", b"\x88\x00"], ids=["1000", "without a code"])
def test_a_good_close_is_the_end(close: bytes) -> None:
    """What came before it counts, it is answered, nothing comes and nothing can be sent any more."""
    stream = WebSocketStream()
    assert stream.receive_data(Server().message(b"last") + close) == b"last"
    assert stream.ended
    assert stream.take()[:1] == close[:1]
    assert stream.receive_data(b"more") == b""
    with pytest.raises(LocalProtocolError):
        stream.frame(b"x")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (Server().socket.send(TextMessage("hello")), "text message"),
        (Server().socket.send(CloseConnection(1011, "broken")), "code 1011: 'broken'"),
        (b"\x82\x81abcdx", "masked"),
        (b"\x80\x00", "CONTINUATION"),
        (b"\xc2\x00", "Reserved bit"),
        (b"\x02\x01a\x82\x01b", "expected CONTINUATION"),
        (b"\x83\x00", "opcode"),
        (b"\x09\x00", "fragment control frame"),
        (b"\x88\x01a", "1 byte payload"),
        (b"HTTP/1.1 200 OK", "."),
    ],
    ids=str,
)
def test_what_is_no_tunnel(data: bytes, said: str) -> None:
    """Each is an error that says so, now and later."""
    stream = WebSocketStream()
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match=said):
            stream.receive_data(data)


@given(PIECES, st.lists(st.integers(min_value=0), max_size=6), st.integers(1, 5))
def test_a_few_frames_at_a_time(messages: list[tuple[bytes, int]], cuts: list[int], most: int) -> None:
    """However few frames are looked at in one call, the same bytes come, and every PING is answered."""
    server = Server()
    sent = [server.message(piece, fragments=fragments) + server.socket.send(Ping()) for piece, fragments in messages]
    stream, got, answers = WebSocketStream(), b"", b""
    for piece in cut(b"".join(sent), *cuts):
        got += stream.receive_data(piece, most)
        answers += stream.take()
        while stream.more:
            got += stream.receive_data(b"", most)
            answers += stream.take()
    assert got == b"".join(piece for piece, _ in messages)
    assert server.read(answers) == [Pong()] * len(messages)


def test_a_read_full_of_frames_is_looked_at_in_turns() -> None:
    """Each call looks at so many frames and says that there are more."""
    stream, server = WebSocketStream(), Server()
    assert stream.receive_data(server.message(b"a") + server.message(b"b") + server.message(b"c"), 2) == b"ab"
    assert stream.more
    assert stream.receive_data(b"", 2) == b"c"
    assert not stream.more
