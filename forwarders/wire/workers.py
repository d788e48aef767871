"""Owns the count of frames that the peer's workers have not consumed yet. Refuses to wait: callers ask and decide.

spdystream (connection.go, `Serve`) spreads frames over 5 workers by stream id, each behind a queue of 50, and its one
reader blocks on a full queue: an application that does not read would stop the whole session. So fewer than 50 frames
may be unconsumed per worker. A SYN_REPLY and a PING's answer prove that a worker got so far; PINGs go round the
workers in turn.
"""

from __future__ import annotations

FRAME_WORKERS = 5
# Of 50; the rest is room for PINGs and resets, which are never held back.
CREDIT = 40
PROBE_LIMIT = 48
# Half the credit: early enough that the answer is there before the credit is used up.
PROBE_AFTER = 16


def worker_of(stream_id: int) -> int:
    return stream_id % FRAME_WORKERS


class WorkerCredit:
    """Frames sent and consumed, per worker, counted from the session's start."""

    def __init__(self) -> None:
        self._sent = [0] * FRAME_WORKERS
        self._consumed = [0] * FRAME_WORKERS
        self._ping_worker = 0
        self._pings: dict[int, tuple[int, int]] = {}
        self._syns: dict[int, int] = {}

    def unconsumed(self, worker: int) -> int:
        return self._sent[worker] - self._consumed[worker]

    def available(self, stream_id: int) -> bool:
        """Whether one more frame of this stream may go out."""
        return self.unconsumed(worker_of(stream_id)) < CREDIT

    def sent(self, stream_id: int, *, syn: bool = False) -> None:
        worker = worker_of(stream_id)
        self._sent[worker] += 1
        if syn:
            self._syns[stream_id] = self._sent[worker]

    def sent_ping(self, ping_id: int) -> None:
        worker = self._ping_worker
        self._ping_worker = (worker + 1) % FRAME_WORKERS
        self._sent[worker] += 1
        self._pings[ping_id] = (worker, self._sent[worker])

    @property
    def pings_out(self) -> int:
        """PINGs that have no answer yet."""
        return len(self._pings)

    def wants_probe(self, stream_id: int) -> bool:
        """Whether it is time for a round of PINGs: much is unconsumed here and no round is under way."""
        return not self._pings and self.unconsumed(worker_of(stream_id)) >= PROBE_AFTER

    def can_probe(self) -> bool:
        """Whether a round of PINGs fits into every worker's queue."""
        return all(self.unconsumed(worker) < PROBE_LIMIT for worker in range(FRAME_WORKERS))

    def accepted(self, stream_id: int) -> None:
        """SYN_REPLY: the worker has consumed everything up to that SYN_STREAM."""
        mark = self._syns.pop(stream_id, None)
        if mark is not None:
            self._reach(worker_of(stream_id), mark)

    def answered(self, ping_id: int) -> None:
        worker, mark = self._pings.pop(ping_id, (0, 0))
        self._reach(worker, mark)

    def forget(self, stream_id: int) -> None:
        """The stream is gone: no SYN_REPLY is waited for."""
        self._syns.pop(stream_id, None)

    def mark(self, stream_id: int) -> int:
        """Names the last frame sent to this stream's worker, for `passed`."""
        return self._sent[worker_of(stream_id)]

    def passed(self, stream_id: int, mark: int) -> bool:
        """Whether the worker is known to have consumed the frame that `mark` named."""
        return self._consumed[worker_of(stream_id)] >= mark

    def _reach(self, worker: int, mark: int) -> None:
        self._consumed[worker] = max(self._consumed[worker], mark)
