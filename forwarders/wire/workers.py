"""Owns the count of frames that the peer's workers have not consumed yet. Refuses to wait: callers ask and decide.

spdystream (connection.go, `Serve`) spreads frames over 5 workers by stream id, each behind a queue of 50, and its one
reader blocks on a full queue: an application that does not read would stop the whole session. So fewer than 50 frames
may be unconsumed per worker. A SYN_REPLY and a PING's answer prove that a worker got so far; PINGs go round the
workers in turn.

A worker that holds DATA which nobody will ever read (a refused dial, an application that closed in mid-upload) is lost
for good: the runtime closes the stream without emptying it (seen on containerd 1.6: five refused requests end a
session). So every connection has a worker of its own, and a worker is used again only when it has proven to be idle.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import ge, sub

FRAME_WORKERS = 5
# Of 50; the rest is room for PINGs and resets, which are never held back.
CREDIT = 40
PROBE_LIMIT = 48
# With 3 idle workers of 5 there are always two that a pair's neighbouring odd ids can fall on.
ENOUGH_IDLE = 3
# Half the credit: early enough that the answer is there before the credit is used up.
PROBE_AFTER = 16


def worker_of(stream_id: int) -> int:
    return stream_id % FRAME_WORKERS


class WorkerCredit:
    """Frames sent and consumed, per worker, counted from the session's start."""

    def __init__(self) -> None:
        self._sent = [0] * FRAME_WORKERS
        self._consumed = [0] * FRAME_WORKERS
        # Per worker: the last frame that it may be stuck in.
        self._last = [0] * FRAME_WORKERS
        self._ping_worker = 0
        self._pings: dict[int, tuple[int, int]] = {}
        # Per worker: the frame that the last PING sent to it will prove.
        self._asked = [0] * FRAME_WORKERS
        self._syns: dict[int, int] = {}
        self._newest_answer = 0

    def unconsumed(self, worker: int) -> int:
        return self._sent[worker] - self._consumed[worker]

    def _most_unconsumed(self) -> int:
        most: int = max(map(sub, self._sent, self._consumed))
        return most

    def available(self, stream_id: int) -> bool:
        """Whether one more frame of this stream may go out."""
        return self.unconsumed(worker_of(stream_id)) < CREDIT

    def idle(self) -> list[bool]:
        """Per worker: whether it is known to be stuck in no frame."""
        return list(map(ge, self._consumed, self._last))

    def _free(self, worker: int) -> bool:
        return self._consumed[worker] >= self._last[worker]

    def held_up(self, stream_id: int) -> bool:
        """Whether this stream's worker is stuck while others go on: it owes an answer, and a later PING has its own."""
        worker = worker_of(stream_id)
        owed = (ping for ping, (of, mark) in self._pings.items() if of == worker and mark > self._last[worker])
        return not self._free(worker) and min(owed, default=self._newest_answer) < self._newest_answer

    def sent(self, stream_id: int, *, syn: bool = False, may_block: bool = True) -> None:
        """Count one frame. Not `may_block`: an empty FIN or a reset, which nobody has to read."""
        worker = worker_of(stream_id)
        self._sent[worker] += 1
        if may_block:
            self._last[worker] = self._sent[worker]
        if syn:
            self._syns[stream_id] = self._sent[worker]

    def sent_ping(self, ping_id: int) -> None:
        worker = self._ping_worker
        self._ping_worker = (worker + 1) % FRAME_WORKERS
        self._sent[worker] += 1
        self._asked[worker] = self._sent[worker]
        self._pings[ping_id] = (worker, self._sent[worker])

    @property
    def pings_out(self) -> int:
        """PINGs that have no answer yet."""
        return len(self._pings)

    def owes(self, ping_id: int) -> bool:
        """Whether a PING up to this one has no answer though its worker is stuck in no frame."""
        return any(ping <= ping_id and self._free(worker) for ping, (worker, _) in self._pings.items())

    @property
    def settled(self) -> bool:
        """Whether everything sent is known to be consumed."""
        return self._sent == self._consumed

    def pings_due(self) -> int:
        """How many PINGs ask the workers that hold so much that it is time to, and were not asked yet."""
        if not PROBE_AFTER <= self._most_unconsumed() < PROBE_LIMIT:
            return 0
        return self._pings_to([worker for worker in self._unasked() if self.unconsumed(worker) >= PROBE_AFTER])

    def pings_for_idle_workers(self, busy: Sequence[int]) -> int:
        """How many PINGs ask the workers that have no `busy` pair; 0: none are due.

        They are when so few workers are known to be idle that another connection may find no pair of them.
        """
        if sum(self.idle()) > ENOUGH_IDLE or not self.can_probe():
            return 0
        return self._pings_to([worker for worker in self._unasked() if not busy[worker]])

    def _pings_to(self, workers: Sequence[int]) -> int:
        """As PINGs go round, so many reach all of these."""
        return max(((worker - self._ping_worker) % FRAME_WORKERS for worker in workers), default=-1) + 1

    def _unasked(self) -> list[int]:
        """Workers that hold frames of streams and owe no answer to a PING."""
        workers = range(FRAME_WORKERS)
        return [w for w in workers if self._asked[w] <= self._consumed[w] < self._last[w]]

    def can_probe(self) -> bool:
        """Whether a round of PINGs fits into every worker's queue."""
        return self._most_unconsumed() < PROBE_LIMIT

    def accepted(self, stream_id: int) -> None:
        """SYN_REPLY: the worker has consumed everything up to that SYN_STREAM."""
        mark = self._syns.pop(stream_id, None)
        if mark is not None:
            self._reach(worker_of(stream_id), mark)

    def answered(self, ping_id: int) -> None:
        worker, mark = self._pings.pop(ping_id, (0, 0))
        self._newest_answer = max(self._newest_answer, ping_id)
        self._reach(worker, mark)

    def forget(self, stream_id: int) -> None:
        """The stream is gone: no SYN_REPLY is waited for."""
        self._syns.pop(stream_id, None)

    def mark(self, stream_id: int) -> int:
        """Names the last frame sent to this stream's worker, for `passed`."""
        return self._sent[worker_of(stream_id)]

    def asked(self, stream_id: int, mark: int) -> bool:
        """Whether a PING behind the frame that `mark` named has been sent."""
        return self._asked[worker_of(stream_id)] >= mark

    def passed(self, stream_id: int, mark: int) -> bool:
        """Whether the worker is known to have consumed the frame that `mark` named."""
        return self._consumed[worker_of(stream_id)] >= mark

    def _reach(self, worker: int, mark: int) -> None:
        self._consumed[worker] = max(self._consumed[worker], mark)
