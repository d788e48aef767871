"""Pairs of streams as Kubernetes' port forwarding uses them: the client against a runtime as in docs/design/wire.md."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.spdy_peer import SpdyPeer
from forwarders.errors import LocalProtocolError, RemoteProtocolError
from forwarders.wire import frames, streams
from forwarders.wire.connection import MAX_ANSWERS
from forwarders.wire.portforward import MAX_ERROR_TEXT, PairEof, PairFinished, PortForward
from forwarders.wire.workers import CREDIT, FRAME_WORKERS, PROBE_LIMIT, worker_of
from tests.wire.feeding import Payload, assert_same_however_cut, cut, feed_in, joined

REFUSED = "failed to connect to localhost:80 inside namespace: connection refused"


class Runtime:
    """A client and the runtime it talks to. `received` holds what the runtime saw, PINGs and their answers apart."""

    def __init__(self) -> None:
        self.client = PortForward()
        self.server = SpdyPeer("server")
        self.received: list[object] = []
        self.answering = True

    def exchange(self) -> list[object]:
        """The client's bytes to the runtime, the runtime's (with SYN_REPLYs and PINGs answered) back."""
        told: list[object] = []
        while self.client.pending:
            for event in joined(self.server.receive_data(self.client.take())):
                match event:
                    case streams.PingReceived(ping):
                        if self.answering:
                            self.server.answer(ping)
                    case streams.StreamOpened(stream, _):
                        self.received.append(event)
                        if self.answering:
                            self.server.reply(stream)
                    case _:
                        self.received.append(event)
            told += self.back()
        return told

    def back(self) -> list[object]:
        return joined(self.client.receive_data(self.server.take()))

    def forgot_everything(self) -> bool:
        """Whether nothing of any pair is kept in any table of the client's."""
        wire = self.client
        tables = (wire._pairs, wire._by_stream, wire.credit._syns, wire._connection._states)
        return not any(tables) and len(wire._pairs) == 0


@pytest.fixture
def runtime() -> Runtime:
    return Runtime()


def opened(runtime: Runtime) -> tuple[int, int, int]:
    """A pair that the runtime has accepted: its number, error stream and data stream."""
    pair = runtime.client.open(80)
    runtime.exchange()
    error, data = (e.stream_id for e in runtime.received if isinstance(e, streams.StreamOpened))
    runtime.received.clear()
    return pair, error, data


def test_both_streams_and_the_first_data_leave_in_one_write(runtime: Runtime) -> None:
    """Nothing waits for a SYN_REPLY: error stream (half-closed), data stream and data are one `take`."""
    pair = runtime.client.open(8080)
    assert runtime.client.send(pair, b"GET /")
    common = (("port", "8080"), ("requestid", "0"))
    at_once = joined(runtime.server.receive_data(runtime.client.take()))
    assert [event for event in at_once if not isinstance(event, streams.PingReceived)] == [
        streams.StreamOpened(1, (("streamtype", "error"), *common)),
        streams.StreamEnded(1),
        streams.StreamOpened(3, (("streamtype", "data"), *common)),
        Payload(3, b"GET /"),
    ]


def test_a_good_end(runtime: Runtime) -> None:
    """Both of the runtime's streams end: EOF, finished without an error, our FIN sent, nothing kept."""
    pair, error, data = opened(runtime)
    runtime.server.send_data(data, b"answer", fin=True)
    assert runtime.back() == [Payload(pair, b"answer"), PairEof(pair)]
    runtime.server.send_data(error, b"", fin=True)
    assert runtime.back() == [PairFinished(pair, "")]
    runtime.exchange()
    assert runtime.received == [streams.StreamEnded(data)]
    assert runtime.forgot_everything()
    assert runtime.server.open_streams == 0


def test_a_good_end_with_the_error_stream_first(runtime: Runtime) -> None:
    """kubelet closes the error stream before the data stream: the pair is over with the second of them."""
    pair, error, data = opened(runtime)
    runtime.server.send_data(error, b"", fin=True)
    assert runtime.back() == []
    runtime.server.send_data(data, b"", fin=True)
    assert runtime.back() == [PairEof(pair), PairFinished(pair, "")]
    assert runtime.forgot_everything()


def test_refused_in_the_pod(runtime: Runtime) -> None:
    """Error text and RST_STREAM on the error stream: one finished pair with that text, both streams gone."""
    pair, error, data = opened(runtime)
    runtime.server.send_data(error, REFUSED.encode())
    runtime.server.reset(error)
    assert runtime.back() == [PairFinished(pair, REFUSED)]
    assert runtime.client.send(pair, b"late") is False
    runtime.exchange()
    assert runtime.received == [streams.StreamReset(data, frames.CANCEL)]
    assert runtime.forgot_everything()


def test_the_application_resets(runtime: Runtime) -> None:
    """containerd's order is data FIN, error text, RST on the error stream: EOF alone must not count as a good end."""
    pair, error, data = opened(runtime)
    runtime.server.send_data(data, b"half of it", fin=True)
    assert runtime.back() == [Payload(pair, b"half of it"), PairEof(pair)]
    runtime.server.send_data(error, b"connection reset by peer")
    assert runtime.back() == []
    runtime.server.reset(error)
    assert runtime.back() == [PairFinished(pair, "connection reset by peer")]
    assert runtime.forgot_everything()


@pytest.mark.parametrize("text", ["", "with a text"])
def test_the_data_stream_is_reset(runtime: Runtime, text: str) -> None:
    """A reset data stream is an error at once, with or without a text, and the error stream is given up too."""
    pair, error, data = opened(runtime)
    if text:
        runtime.server.send_data(error, text.encode())
    runtime.server.reset(data)
    assert runtime.back() == [PairEof(pair), PairFinished(pair, text or "the data stream was reset")]
    runtime.exchange()
    assert runtime.received == [streams.StreamReset(error, frames.CANCEL)]
    assert runtime.forgot_everything()
    assert runtime.server.open_streams == 0


def test_abort(runtime: Runtime) -> None:
    """An aborted pair is forgotten at once; what was under way for it is told apart and dropped."""
    pair, error, data = opened(runtime)
    runtime.server.send_data(data, b"under way")
    assert runtime.client.abort(pair) == data
    assert runtime.client.abort(pair) is None
    assert runtime.back() == [streams.StrayDataReceived(data)]
    runtime.exchange()
    assert runtime.received == [streams.StreamReset(data, frames.CANCEL), streams.StreamReset(error, frames.CANCEL)]
    assert runtime.forgot_everything()


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_abort_once_the_data_stream_has_ended_both_ways(runtime: Runtime, first: str) -> None:
    """An error stream that the runtime never ends does not stay open behind a pair that is given up."""
    pair, error, data = opened(runtime)
    if first == "ours":
        runtime.client.send_eof(pair)
        runtime.exchange()
    runtime.server.send_data(data, b"", fin=True)
    assert runtime.back() == [PairEof(pair)]
    runtime.client.abort(pair)
    runtime.exchange()
    assert runtime.received[-2:] == [streams.StreamEnded(data), streams.StreamReset(error, frames.CANCEL)]
    assert runtime.forgot_everything()
    assert runtime.server.open_streams == 0


def test_our_fin(runtime: Runtime) -> None:
    """FIN once: nothing is sent behind it, the answer still comes; a second FIN says nothing."""
    pair, _, data = opened(runtime)
    runtime.client.send_eof(pair)
    runtime.exchange()
    assert runtime.received == [streams.StreamEnded(data)]
    runtime.server.send_data(data, b"late answer")
    assert runtime.back() == [Payload(pair, b"late answer")]
    runtime.client.abort(pair)
    runtime.client.send_eof(pair)


def test_go_away(runtime: Runtime) -> None:
    """GOAWAY ends no pair: it says that no new one will be served."""
    opened(runtime)
    runtime.server.go_away()
    assert runtime.back() == [streams.GoAwayReceived(3)]
    assert len(runtime.client._pairs) == 1


def test_an_endless_error_text_is_cut(runtime: Runtime) -> None:
    """A runtime that goes on and on costs 8 KiB."""
    pair, error, _ = opened(runtime)
    for _ in range(5):
        runtime.server.send_data(error, b"x" * 4096)
    runtime.server.send_data(error, b"", fin=True)
    assert runtime.back() == [PairFinished(pair, "x" * MAX_ERROR_TEXT)]


def test_streams_of_the_peers_are_refused(runtime: Runtime) -> None:
    """Port forwarding knows no stream opened by the server: it is reset, unless it was so already."""
    stream = runtime.server.open_stream(())
    assert runtime.back() == []
    runtime.exchange()
    assert runtime.received == [streams.StreamReset(stream, frames.REFUSED_STREAM)]
    runtime.server.reset(runtime.server.open_stream(()))
    assert runtime.back() == []
    assert runtime.client.pending == 0


def test_the_peers_pings_are_answered(runtime: Runtime) -> None:
    """The runtime may ask too."""
    ping = runtime.server.ping()
    runtime.back()
    assert runtime.server.receive_data(runtime.client.take()) == [streams.PingAnswered(ping)]


def test_ten_thousand_connections_leave_nothing(runtime: Runtime) -> None:
    """Good ends, refusals, aborts and resets in turn: no table grows, and the credit is back where it began."""
    for number in range(10_000):
        pair, error, data = opened(runtime)
        match number % 5:
            case 0:
                runtime.server.send_data(data, b"", fin=True)
                runtime.server.send_data(error, b"", fin=True)
            case 1:
                runtime.server.send_data(error, b"refused")
                runtime.server.reset(error)
            case 2:
                runtime.client.abort(pair)
            case 3:
                runtime.server.reset(data)
            case 4:
                runtime.client.send_eof(pair)
                runtime.client.abort(pair)
        runtime.back()
        runtime.exchange()
        assert runtime.forgot_everything()
        runtime.received.clear()
    assert runtime.server.open_streams == 0
    assert len(runtime.client.credit._pings) == 0


def test_credit_stops_a_stuck_upload_below_the_queues_bound(runtime: Runtime) -> None:
    """Without answers a pair may send CREDIT frames and no more; an answer gives room again, and asks anew."""
    runtime.answering = False
    pair = runtime.client.open(80)
    sent = 0
    while runtime.client.can_send(pair):
        assert runtime.client.send(pair, b"x")
        sent += 1
    assert CREDIT - 5 < sent < CREDIT
    pings = len(runtime.client.credit._pings)
    runtime.exchange()
    for ping in range(1, 2 * pings, 2):
        runtime.server.answer(ping)
    runtime.back()
    assert runtime.client.can_send(pair)
    assert len(runtime.client.credit._pings)


@pytest.mark.parametrize("at", range(FRAME_WORKERS))
def test_no_request_waits_for_more_than_one_ping(runtime: Runtime, at: int) -> None:
    """A kept connection, wherever the round of PINGs stands: one PING behind a request, half the credit always left."""
    pair, _, data = opened(runtime)
    for _ in range(at):
        runtime.client.probe(1)
    runtime.exchange()
    credit, requests = runtime.client.credit, 10 * CREDIT
    asked = []
    for _ in range(requests):
        before = runtime.client._connection._next_ping_id
        assert runtime.client.send(pair, b"GET /")
        asked.append((runtime.client._connection._next_ping_id - before) // 2)
        assert credit.unconsumed(worker_of(data)) <= CREDIT // 2 + 1
        runtime.exchange()
    assert max(asked) == 1
    assert sum(asked) <= requests // 4


def test_an_answer_proves_the_only_frame_before_it(runtime: Runtime) -> None:
    """Short connections, a request and its answer each, need no PING: the session takes the next one at once."""
    for _ in range(10 * FRAME_WORKERS):
        assert runtime.client.can_open()
        pair, _, data = opened(runtime)
        runtime.client.send(pair, b"GET /")
        runtime.exchange()
        runtime.server.send_data(data, b"200 OK")
        runtime.back()
        runtime.client.abort(pair)
        runtime.exchange()
        runtime.received.clear()
    assert runtime.client._connection._next_ping_id == 1


@pytest.mark.parametrize("before", [0, 2])
def test_an_answer_proves_no_other_frame(runtime: Runtime, before: int) -> None:
    """An application may close before it reads a second frame, or one after its greeting: only a PING proves that."""
    pair, _, data = opened(runtime)
    for _ in range(before):
        runtime.client.send(pair, b"x")
    runtime.exchange()
    for _ in range(2):
        runtime.server.send_data(data, b"hello")
        runtime.back()
        assert runtime.client.is_acked(pair, runtime.client.checkpoint(pair)) == (not before)
        runtime.client.send(pair, b"x")
        before += 1


def test_pairs_of_the_past_can_be_sent_to(runtime: Runtime) -> None:
    """`can_send` of a pair that is over is True: nobody shall wait for it; `send` then says that it is over."""
    assert runtime.client.can_send(99)
    assert runtime.client.send(99, b"x") is False
    assert runtime.client.is_acked(99, 0) is False


def test_new_pairs_pass_over_a_stuck_worker(runtime: Runtime) -> None:
    """Stream ids whose worker does not consume are left out; asking alone uses none up."""
    pairs = []
    for _ in range(4):
        pairs.append(runtime.client.open(80))
        runtime.exchange()
    runtime.client.abort(pairs[2])
    runtime.exchange()
    runtime.answering = False
    runtime.client.send(pairs[1], b"x")
    runtime.exchange()
    for _ in range(3):
        assert runtime.client.can_open()
    runtime.client.open(80)
    runtime.exchange()
    ids = [event.stream_id for event in runtime.received if isinstance(event, streams.StreamOpened)]
    assert ids == [1, 3, 5, 7, 9, 11, 13, 15, 19, 21]


def test_every_connection_has_a_worker_of_its_own(runtime: Runtime) -> None:
    """Five pairs a session, their data streams on five different workers; a sixth has to go elsewhere."""
    for _ in range(FRAME_WORKERS):
        assert runtime.client.can_open()
        runtime.client.open(80)
        runtime.exchange()
    ids = [e.stream_id for e in runtime.received if isinstance(e, streams.StreamOpened)]
    assert len({stream % FRAME_WORKERS for stream in ids[1::2]}) == FRAME_WORKERS
    assert not runtime.client.can_open()
    runtime.client.abort(2)
    runtime.exchange()
    assert runtime.client.can_open()


@pytest.mark.parametrize("step", range(1, FRAME_WORKERS))
def test_the_worker_of_a_pair_that_ended_is_found(runtime: Runtime, step: int) -> None:
    """Whichever of five it is, and however far the ids have come: the next pair's data stream has that worker."""
    on = {}
    for _ in range(FRAME_WORKERS):
        pair, _, data = opened(runtime)
        on[data % FRAME_WORKERS] = pair
    for turn in range(4 * FRAME_WORKERS):
        worker = turn * step % FRAME_WORKERS
        runtime.client.abort(on[worker])
        runtime.exchange()
        runtime.received.clear()
        assert runtime.client.can_open()
        on[worker], _, data = opened(runtime)
        assert data % FRAME_WORKERS == worker


def test_data_behind_the_pairs_end_in_one_read(runtime: Runtime) -> None:
    """What the runtime sent on the data stream after it failed the pair is dropped, also within one read."""
    pair, error, data = opened(runtime)
    runtime.server.send_data(error, b"broken", fin=True)
    runtime.server.send_data(data, b"late", fin=True)
    assert runtime.back() == [PairFinished(pair, "broken")]
    assert runtime.forgot_everything()


def test_no_pair_fits_where_every_worker_is_stuck(runtime: Runtime) -> None:
    """With all five workers at their credit nothing can be opened, and no PING is sent that could fill a queue."""
    runtime.answering = False
    while runtime.client.can_open():
        runtime.client.open(80)
    while runtime.client.credit.can_probe():
        runtime.client.probe()
    credit = runtime.client.credit
    assert max(credit.unconsumed(worker) for worker in range(FRAME_WORKERS)) <= PROBE_LIMIT


def test_stream_ids_run_out(runtime: Runtime) -> None:
    """At the last ids no pair can be opened: the session is of no more use, and says so before it is tried."""
    runtime.client._connection._next_stream_id = frames.MAX_STREAM_ID - 2
    assert runtime.client.can_open()
    runtime.client.open(80)
    assert not runtime.client.can_open()
    with pytest.raises(LocalProtocolError, match="used up"):
        runtime.client.open(80)


def test_proof_of_what_was_sent(runtime: Runtime) -> None:
    """`prove` asks once for a mark; the answers of that round prove it, those of an older round do not."""
    pair, _, _ = opened(runtime)
    runtime.client.probe()
    runtime.client.send(pair, b"x")
    mark = runtime.client.checkpoint(pair)
    runtime.exchange()
    assert not runtime.client.is_acked(pair, mark)
    runtime.client.request_ack(pair, mark)
    runtime.client.request_ack(pair, mark)
    assert len(runtime.client.credit._pings) == FRAME_WORKERS
    runtime.exchange()
    assert runtime.client.is_acked(pair, mark)


def test_proof_is_not_asked_for_where_a_queue_is_full(runtime: Runtime) -> None:
    """A round of PINGs that could fill a stuck worker's queue is not sent, whoever wants to know."""
    runtime.answering = False
    pair = runtime.client.open(80)
    while runtime.client.credit.can_probe():
        runtime.client.probe()
    before = len(runtime.client.credit._pings)
    runtime.client.send(pair, b"x")
    runtime.client.request_ack(pair, runtime.client.checkpoint(pair))
    assert len(runtime.client.credit._pings) == before


def test_what_the_runtime_owes(runtime: Runtime) -> None:
    """A round of PINGs is owed until it is answered; then all that was sent is known to be taken."""
    opened(runtime)
    last = runtime.client.probe()
    assert (runtime.client.credit.has_unanswered_ping(last), runtime.client.credit.fully_acked) == (True, False)
    runtime.exchange()
    assert (runtime.client.credit.has_unanswered_ping(last), runtime.client.credit.fully_acked) == (False, True)


def test_every_cut_gives_the_same_events() -> None:
    """The runtime's whole side of three pairs is told the same however its bytes arrive."""

    def client() -> PortForward:
        wire = PortForward()
        for _ in range(3):
            wire.open(80)
        wire.take()
        return wire

    server = SpdyPeer("server")
    wire = client()
    again = PortForward()
    for _ in range(3):
        again.open(80)
    server.receive_data(again.take())
    for stream in (3, 1, 7, 5, 19, 9):  # the last worker has both streams of the third pair
        server.reply(stream)
    server.send_data(3, b"answer", fin=True)
    server.send_data(1, b"", fin=True)
    server.send_data(5, REFUSED.encode())
    server.reset(5)
    server.send_data(19, b"half")
    server.reset(19)
    server.go_away()
    data = server.take()
    assert_same_however_cut(lambda: client().receive_data, data, wire.receive_data(data))


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_random_bytes_are_refused_by_name_only(data: bytes, places: list[int]) -> None:
    """Bytes of any kind behind a good opening make events or RemoteProtocolError."""
    wire = PortForward()
    wire.open(80)
    try:
        feed_in(lambda: wire.receive_data, cut(data, places))
    except RemoteProtocolError:
        return


stream_ids = st.sampled_from([1, 3, 5, 7])
server_frames = st.one_of(
    st.builds(lambda s, p, f: frames.data_head(s, len(p), fin=f) + p, stream_ids, st.binary(max_size=5), st.booleans()),
    st.builds(lambda s: frames.encode(frames.RstStream(s, 5)), stream_ids),
    st.builds(lambda p: frames.encode(frames.Ping(p)), st.integers(0, 40)),
    st.builds(lambda s: frames.encode(frames.GoAway(s)), stream_ids),
)
steps = st.one_of(
    server_frames,
    st.tuples(st.sampled_from(["open", "send", "send_eof", "abort", "prove", "take"]), st.integers(0, 4)),
)


def take_step(wire: PortForward, call: str, pair: int, ended: set[int]) -> None:
    """One call, unless it would be a caller's own mistake: nothing is sent behind a FIN."""
    match call:
        case "open":
            wire.open(80)
        case "send" if pair not in ended:
            wire.send(pair, b"x")
        case "send_eof" if pair not in ended:
            wire.send_eof(pair)
            ended.add(pair)
        case "abort":
            wire.abort(pair)
        case "prove" if pair in wire._pairs:
            wire.request_ack(pair, wire.checkpoint(pair))
        case _:
            wire.take()


@given(st.lists(steps, max_size=40))
def test_any_order_of_well_formed_frames_and_calls(order: list[bytes | tuple[str, int]]) -> None:
    """No order of frames and calls raises, tells of a pair after its end, or leaves a half of one behind."""
    wire = PortForward()
    wire.open(80)
    wire.open(80)
    ended: set[int] = set()
    for step in order:
        alive = set(wire._pairs)
        if isinstance(step, bytes):
            told = [
                event
                for event in wire.receive_data(step)
                if not isinstance(event, streams.GoAwayReceived | streams.StrayDataReceived)
            ]
            assert {event.pair for event in told} <= alive
            assert {event.pair for event in told if isinstance(event, PairFinished)} == alive - set(wire._pairs)
        else:
            take_step(wire, *step, ended)
    assert len(wire._by_stream) == 2 * len(wire._pairs)
    assert len(wire._connection._states) <= 2 * len(wire._pairs)


def test_a_flood_of_pings_is_taken_in_turns(runtime: Runtime) -> None:
    """Each turn looks at so many frames; all are answered where the answers are taken."""
    pings = [runtime.server.ping() for _ in range(2 * MAX_ANSWERS)]
    assert runtime.client.receive_data(runtime.server.take(), 128) == []
    answered = runtime.server.receive_data(runtime.client.take())
    while runtime.client.more:
        runtime.client.receive_data(b"", 128)
        now = runtime.server.receive_data(runtime.client.take())
        assert len(now) <= 128
        answered += now
    assert answered == [streams.PingAnswered(ping) for ping in pings]


@pytest.mark.parametrize("what", ["PINGs", "streams", "both"])
def test_answers_that_nobody_takes_are_bounded(runtime: Runtime, what: str) -> None:
    """A peer that asks and does not read is no peer: memory does not grow with what it sends."""
    for _ in range(MAX_ANSWERS + 1):
        if what != "streams":
            runtime.server.ping()
        if what != "PINGs":
            runtime.server.open_stream(())
    with pytest.raises(RemoteProtocolError, match="does not read"):
        runtime.client.receive_data(runtime.server.take())
    assert runtime.client.pending < 32 * MAX_ANSWERS


def test_one_idle_worker_is_enough_for_both_streams_of_a_pair() -> None:
    """Their ids are no neighbours then: for a test dial beside connections that leave no other worker."""
    wire, server = PortForward(), SpdyPeer("server")
    for _ in range(2):
        assert wire.can_open()
        wire.open(80)
    assert (wire.can_open(), wire.can_open_apart()) == (False, True)
    server.receive_data(wire.take())
    wire.open(1)
    events = server.receive_data(wire.take())
    opened = [event.stream_id for event in events if isinstance(event, streams.StreamOpened)]
    assert [stream % FRAME_WORKERS for stream in opened] == [4, 4]
    assert not wire.can_open_apart()
