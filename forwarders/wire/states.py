"""Owns the life of one SPDY stream as a table. Refuses exceptions to it.

SPDY draft 3.1, sections 2.3.6 (half-close) and 2.3.7 (close): an end that sent FIN sends no more data;
a reset ends both directions.
"""

from __future__ import annotations

from enum import Enum, auto


class StreamState(Enum):
    OPEN = auto()
    HALF_CLOSED_LOCAL = auto()
    HALF_CLOSED_REMOTE = auto()
    CLOSED = auto()


class Happening(Enum):
    SEND_DATA = auto()
    SEND_FIN = auto()
    RECEIVE_DATA = auto()
    RECEIVE_FIN = auto()
    RESET = auto()


_S, _H = StreamState, Happening

# A pair that is not here is not allowed.
TRANSITIONS: dict[tuple[StreamState, Happening], StreamState] = {
    (_S.OPEN, _H.SEND_DATA): _S.OPEN,
    (_S.OPEN, _H.SEND_FIN): _S.HALF_CLOSED_LOCAL,
    (_S.OPEN, _H.RECEIVE_DATA): _S.OPEN,
    (_S.OPEN, _H.RECEIVE_FIN): _S.HALF_CLOSED_REMOTE,
    (_S.OPEN, _H.RESET): _S.CLOSED,
    (_S.HALF_CLOSED_LOCAL, _H.RECEIVE_DATA): _S.HALF_CLOSED_LOCAL,
    (_S.HALF_CLOSED_LOCAL, _H.RECEIVE_FIN): _S.CLOSED,
    (_S.HALF_CLOSED_LOCAL, _H.RESET): _S.CLOSED,
    (_S.HALF_CLOSED_REMOTE, _H.SEND_DATA): _S.HALF_CLOSED_REMOTE,
    (_S.HALF_CLOSED_REMOTE, _H.SEND_FIN): _S.CLOSED,
    (_S.HALF_CLOSED_REMOTE, _H.RESET): _S.CLOSED,
}
