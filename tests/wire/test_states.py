"""The state table, exhaustively: what is allowed leads where the draft says, everything else is refused."""

from __future__ import annotations

import itertools

import pytest

from forwarders.wire.streams import TRANSITIONS, StreamEvent, StreamState


def expected(state: StreamState, event: StreamEvent) -> StreamState | None:
    """The rule behind the table: each direction is open or not, FIN closes one, a reset both, no frame reopens any."""
    ours = state in {StreamState.OPEN, StreamState.HALF_CLOSED_REMOTE}
    theirs = state in {StreamState.OPEN, StreamState.HALF_CLOSED_LOCAL}
    match event:
        case StreamEvent.SEND_DATA if not ours:
            return None
        case StreamEvent.RECEIVE_DATA if not theirs:
            return None
        case StreamEvent.SEND_FIN if not ours:
            return None
        case StreamEvent.RECEIVE_FIN if not theirs:
            return None
        case StreamEvent.SEND_FIN:
            ours = False
        case StreamEvent.RECEIVE_FIN:
            theirs = False
        case StreamEvent.RESET if not ours and not theirs:
            return None
        case StreamEvent.RESET:
            ours = theirs = False
    return {
        (True, True): StreamState.OPEN,
        (True, False): StreamState.HALF_CLOSED_REMOTE,
        (False, True): StreamState.HALF_CLOSED_LOCAL,
        (False, False): StreamState.CLOSED,
    }[ours, theirs]


@pytest.mark.parametrize(("state", "event"), list(itertools.product(StreamState, StreamEvent)))
def test_every_pair(state: StreamState, event: StreamEvent) -> None:
    """Each state and event leads where SPDY draft 3.1 sections 2.3.6 and 2.3.7 say, or is not in the table."""
    assert TRANSITIONS.get((state, event)) == expected(state, event)
