"""The peer's five workers: what proves consumption, when proof is asked for, and what may be unconsumed at most."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarders.wire.workers import CREDIT, FRAME_WORKERS, PROBE_AFTER, PROBE_LIMIT, WorkerCredit, worker_of


def answer_round(credit: WorkerCredit, first: int) -> None:
    for ping in range(first, first + FRAME_WORKERS):
        credit.answered(ping)


def send_round(credit: WorkerCredit, first: int) -> None:
    for ping in range(first, first + FRAME_WORKERS):
        credit.sent_ping(ping)


def test_a_round_of_pings_proves_all_workers() -> None:
    """PINGs go round the workers in turn: five answers prove everything sent before them."""
    credit = WorkerCredit()
    for stream in range(1, 11):
        credit.sent(stream)
    marks = {stream: credit.checkpoint(stream) for stream in range(1, 6)}
    send_round(credit, 0)
    assert all(credit.ack_requested(stream, mark) for stream, mark in marks.items())
    assert not any(credit.is_acked(stream, mark) for stream, mark in marks.items())
    answer_round(credit, 0)
    assert all(credit.is_acked(stream, mark) for stream, mark in marks.items())
    assert (len(credit._pings), [credit.unconsumed(worker) for worker in range(5)]) == (0, [0] * 5)


def test_one_answer_proves_its_own_worker_only() -> None:
    """The first PING of a session goes to worker 0, the second to worker 1, and so on."""
    credit = WorkerCredit()
    for worker in range(FRAME_WORKERS):
        credit.sent(worker)
    send_round(credit, 0)
    credit.answered(2)
    assert [credit.unconsumed(worker) for worker in range(5)] == [2, 2, 0, 2, 2]


def test_a_syn_reply_proves_its_own_worker_up_to_the_syn() -> None:
    """SYN_REPLY says that the SYN_STREAM was consumed, not what came after it; only once, and not once forgotten."""
    credit = WorkerCredit()
    credit.sent(1)
    credit.sent(6, syn=True)
    credit.sent(6)
    credit.accepted(6)
    credit.accepted(6)
    assert credit.unconsumed(worker_of(6)) == 1
    credit.sent(11, syn=True)
    credit.forget(11)
    credit.accepted(11)
    assert credit.unconsumed(worker_of(11)) == 2


def test_credit_is_per_worker() -> None:
    """A worker that does not consume is held back at CREDIT frames; its neighbours are not."""
    credit = WorkerCredit()
    for _ in range(CREDIT):
        assert credit.available(5)
        credit.sent(5)
    assert not credit.available(10)
    assert credit.available(6)


def test_answers_out_of_order_never_take_back() -> None:
    """An older proof behind a newer one changes nothing; an unknown answer neither."""
    credit = WorkerCredit()
    for first in (0, 5):
        credit.sent(5)
        send_round(credit, first)
    credit.answered(5)
    assert credit.unconsumed(0) == 0
    credit.answered(0)
    credit.answered(999)
    assert credit.unconsumed(0) == 0


def test_a_probe_is_due_once_per_worker() -> None:
    """Much unconsumed asks for one round; until its PING is answered no further one is due for that worker."""
    credit = WorkerCredit()
    for _ in range(PROBE_AFTER - 1):
        credit.sent(FRAME_WORKERS)
    assert not credit.pings_due()
    credit.sent(FRAME_WORKERS)
    assert credit.pings_due()
    send_round(credit, 0)
    assert not credit.pings_due()


def test_a_stuck_worker_does_not_keep_the_others_from_being_asked() -> None:
    """While worker 1's PING is unanswered, worker 2 gets its own rounds, until worker 1's queue has no room left."""
    credit = WorkerCredit()
    for _ in range(CREDIT):
        credit.sent(1)
    ping = rounds = 0
    while True:
        for _ in range(PROBE_AFTER):
            credit.sent(2)
        if not credit.pings_due():
            break
        rounds += 1
        for worker in range(FRAME_WORKERS):
            credit.sent_ping(ping)
            if worker != 1:
                credit.answered(ping)
            ping += 1
    assert rounds == PROBE_LIMIT - CREDIT
    assert not credit.can_probe()


def test_idle_workers_are_asked_for_before_a_pair_may_find_none() -> None:
    """Three idle ones always have neighbours for a pair, two may not: with three left the others are asked."""
    credit = WorkerCredit()
    credit.sent(1)
    assert credit.pings_for_idle_workers() == 0
    credit.sent(2)
    assert credit.pings_for_idle_workers() == 3


@given(st.lists(st.integers(0, 4), max_size=300), st.sets(st.integers(0, 4)))
def test_no_queue_is_ever_filled(order: list[int], stuck: set[int]) -> None:
    """However frames and rounds interleave, 50 frames are never unconsumed while callers keep to the answers."""
    credit = WorkerCredit()
    ping = 0
    for worker in order:
        if credit.available(worker):
            credit.sent(worker)
        if credit.pings_due():
            for target in range(FRAME_WORKERS):
                credit.sent_ping(ping)
                if target not in stuck:
                    credit.answered(ping)
                ping += 1
        assert all(credit.unconsumed(w) < 50 for w in range(FRAME_WORKERS))


@pytest.mark.parametrize("stream", [1, 5, 2**31 - 1])
def test_workers_are_by_stream_id(stream: int) -> None:
    """spdystream's connection.go: `partition = int(frame.StreamId % FRAME_WORKERS)`."""
    assert worker_of(stream) == stream % 5


def test_an_answer_is_owed_unless_an_application_excuses_it() -> None:
    """A worker that is stuck in a frame owes none; once all are answered everything is settled."""
    credit = WorkerCredit()
    credit.sent(6)
    send_round(credit, 0)
    assert (credit.has_unanswered_ping(4), credit.fully_acked) == (True, False)
    for ping in (0, 2, 3, 4):
        credit.answered(ping)
    assert (credit.has_unanswered_ping(4), credit.fully_acked) == (False, False)
    credit.answered(1)
    assert (credit.has_unanswered_ping(4), credit.fully_acked) == (False, True)
