"""The state table, exhaustively: what is allowed leads where the draft says, everything else is refused."""

from __future__ import annotations

import itertools

import pytest

from forwarders.wire.states import TRANSITIONS, Happening, StreamState


def expected(state: StreamState, happening: Happening) -> StreamState | None:
    """The rule behind the table: each direction is open or not, FIN closes one, a reset both, no frame reopens any."""
    ours = state in {StreamState.OPEN, StreamState.HALF_CLOSED_REMOTE}
    theirs = state in {StreamState.OPEN, StreamState.HALF_CLOSED_LOCAL}
    match happening:
        case Happening.SEND_DATA if not ours:
            return None
        case Happening.RECEIVE_DATA if not theirs:
            return None
        case Happening.SEND_FIN if not ours:
            return None
        case Happening.RECEIVE_FIN if not theirs:
            return None
        case Happening.SEND_FIN:
            ours = False
        case Happening.RECEIVE_FIN:
            theirs = False
        case Happening.RESET if not ours and not theirs:
            return None
        case Happening.RESET:
            ours = theirs = False
    return {
        (True, True): StreamState.OPEN,
        (True, False): StreamState.HALF_CLOSED_REMOTE,
        (False, True): StreamState.HALF_CLOSED_LOCAL,
        (False, False): StreamState.CLOSED,
    }[ours, theirs]


@pytest.mark.parametrize(("state", "happening"), list(itertools.product(StreamState, Happening)))
def test_every_pair(state: StreamState, happening: Happening) -> None:
    """Each state and happening leads where SPDY draft 3.1 sections 2.3.6 and 2.3.7 say, or is not in the table."""
    assert TRANSITIONS.get((state, happening)) == expected(state, happening)
