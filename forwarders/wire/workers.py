"""Counts the frames that each of the peer's workers has not consumed yet. It does not wait: callers ask and decide.

spdystream (connection.go, `Serve`) spreads frames over 5 workers by stream id, each with a queue of 50, and its only
reader blocks on a full queue: an application that does not read would stop the whole session. So fewer than 50 frames
may be unconsumed per worker. A SYN_REPLY and the answer to a PING prove how far a worker got; spdystream assigns PINGs
round-robin. An application's first byte proves the one DATA frame that its connection has sent so far: the runtime has
connected, and reads a first frame whatever the application does.

A worker that holds DATA which nobody will ever read (a refused dial, an application that closed during an upload) is
lost for good: the runtime closes the stream without emptying it (seen on containerd 1.6: five refused requests end a
session). So every connection has a worker of its own, and a worker is used again only after it has proven to be idle.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import product
from operator import sub

FRAME_WORKERS = 5
# Of 50; the rest is room for PINGs and resets, which are sent at any time.
CREDIT = 40
PROBE_LIMIT = 48
# With 3 idle workers of 5 there are always two for a pair's neighbouring odd ids, so that few ids are skipped.
ENOUGH_IDLE = 3
# A PING reaches a worker that holds PROBE_AFTER frames: half the credit is left until the answer arrives. PINGs are
# assigned round-robin, so up to four go first, one for PROBE_STEP frames: five at once would delay a request's answer.
PROBE_AFTER, PROBE_STEP = 20, 4


def worker_of(stream_id: int) -> int:
    return stream_id % FRAME_WORKERS


@functools.cache
def _skips(idle: int, free: int, first: int) -> tuple[int, int] | None:
    """How many ids to skip before a pair's error stream, which gets an idle worker, and then before its data stream.

    That gets one of the `free` workers, with a neighbouring id if possible. `first`: the worker of the next id.
    """
    every = range(FRAME_WORKERS)
    for between, before in product(every, every):
        error = first + 2 * before
        if idle >> worker_of(error) & free >> worker_of(error + 2 * between + 2) & 1:
            return before, between
    return None


class WorkerCredit:
    """Frames sent and consumed, for each worker, counted from the start of the session."""

    def __init__(self) -> None:
        self._sent = [0] * FRAME_WORKERS
        self._consumed = [0] * FRAME_WORKERS
        # Per worker: the last frame that may block it.
        self._last = [0] * FRAME_WORKERS
        # Sets of workers, as bits: those that are known to hold no frame that may block them, and those without a pair.
        self._idle = self._free = (1 << FRAME_WORKERS) - 1
        self._ping_worker = 0
        self._pings: dict[int, tuple[int, int]] = {}
        # Per worker: the frame that the answer to its last PING will acknowledge.
        self._asked = [0] * FRAME_WORKERS
        self._syns: dict[int, int] = {}

    def unconsumed(self, worker: int) -> int:
        return self._sent[worker] - self._consumed[worker]

    def _most_unconsumed(self) -> int:
        most: int = max(map(sub, self._sent, self._consumed))
        return most

    def available(self, stream_id: int) -> bool:
        """Whether one more frame of this stream may go out."""
        return self.unconsumed(worker_of(stream_id)) < CREDIT

    def skips_for(self, stream_id: int) -> tuple[int, int] | None:
        """How many ids to skip before each stream of a pair, so that its data stream gets an idle worker to itself.

        None if there is no such worker. `stream_id`: the next one.
        """
        return _skips(self._idle, self._idle & self._free, worker_of(stream_id))

    def occupy(self, stream_id: int) -> None:
        """A pair has this data stream, and its worker to itself."""
        self._free &= ~(1 << worker_of(stream_id))

    def release(self, stream_id: int) -> None:
        """Frees the workers of a pair that is over."""
        self._free |= 1 << worker_of(stream_id)

    def sent(self, stream_id: int, *, syn: bool = False, may_block: bool = True) -> int:
        """Counts one frame; returns its number. Not `may_block`: an empty FIN or a reset, which nobody has to read."""
        worker = worker_of(stream_id)
        self._sent[worker] = number = self._sent[worker] + 1
        if may_block:
            self._last[worker] = number
            self._idle &= ~(1 << worker)
        if syn:
            self._syns[stream_id] = number
        return number

    def sent_ping(self, ping_id: int) -> None:
        worker = self._ping_worker
        self._ping_worker = (worker + 1) % FRAME_WORKERS
        self._sent[worker] += 1
        self._asked[worker] = self._sent[worker]
        self._pings[ping_id] = (worker, self._sent[worker])

    def has_unanswered_ping(self, ping_id: int) -> bool:
        """Whether a PING up to this one has no answer although no frame blocks its worker."""
        return any(ping <= ping_id and self._idle >> worker & 1 for ping, (worker, _) in self._pings.items())

    @property
    def fully_acked(self) -> bool:
        """Whether all frames are known to be consumed."""
        return self._sent == self._consumed

    def pings_due(self) -> int:
        """How many PINGs to send now, so that one reaches each worker that holds PROBE_AFTER frames without one."""
        if not PROBE_STEP <= self._most_unconsumed() < PROBE_LIMIT:
            return 0
        return max([0, *map(self._due_for, self._unasked())])

    def _due_for(self, worker: int) -> int:
        away = self._pings_to([worker])
        return min(away, away + (self.unconsumed(worker) - PROBE_AFTER) // PROBE_STEP)

    def pings_for_idle_workers(self) -> int:
        """How many PINGs are needed to reach the workers without a pair.

        0 while so many workers are known to be idle that another connection finds a pair of them.
        """
        if self._idle.bit_count() > ENOUGH_IDLE or not self.can_probe():
            return 0
        return self._pings_to([worker for worker in self._unasked() if self._free >> worker & 1])

    def _pings_to(self, workers: Sequence[int]) -> int:
        """PINGs are assigned round-robin; returns how many are needed to reach all these workers."""
        return max(((worker - self._ping_worker) % FRAME_WORKERS for worker in workers), default=-1) + 1

    def _unasked(self) -> list[int]:
        """Workers that hold frames of streams and have no PING behind them."""
        workers = range(FRAME_WORKERS)
        return [w for w in workers if self._asked[w] <= self._consumed[w] < self._last[w]]

    def can_probe(self) -> bool:
        """Whether a round of PINGs fits into every worker's queue; not while an application blocks one for long."""
        return self._most_unconsumed() < PROBE_LIMIT

    def accepted(self, stream_id: int) -> None:
        """Notes a SYN_REPLY: the worker has consumed everything up to that SYN_STREAM."""
        self.taken(stream_id, self._syns.pop(stream_id, 0))

    def taken(self, stream_id: int, frame: int) -> None:
        """Notes that the worker consumes everything up to this frame, whatever the application does."""
        self._consume(worker_of(stream_id), frame)

    def answered(self, ping_id: int) -> None:
        worker, frame = self._pings.pop(ping_id, (0, 0))
        self._consume(worker, frame)

    def forget(self, stream_id: int) -> None:
        """Forgets a stream that is closed: no SYN_REPLY will come."""
        self._syns.pop(stream_id, None)

    def checkpoint(self, stream_id: int) -> int:
        """The number of the last frame sent to this stream's worker, for `is_acked`."""
        return self._sent[worker_of(stream_id)]

    def ack_requested(self, stream_id: int, checkpoint: int) -> bool:
        """Whether a PING has been sent to the worker after that frame."""
        return self._asked[worker_of(stream_id)] >= checkpoint

    def is_acked(self, stream_id: int, checkpoint: int) -> bool:
        """Whether the worker is known to have consumed that frame."""
        return self._consumed[worker_of(stream_id)] >= checkpoint

    def _consume(self, worker: int, frame: int) -> None:
        if frame > self._consumed[worker]:
            self._consumed[worker] = frame
            if frame >= self._last[worker]:
                self._idle |= 1 << worker
