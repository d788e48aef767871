"""Feeds a decoder the same bytes whole, byte by byte and cut anywhere, and holds it to equal events.

Owns that comparison alone. Neighbouring payloads of one stream are joined first: decoders hand on what has come.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from forwarders.wire.frames import Data
from forwarders.wire.portforward import PairData
from forwarders.wire.streams import DataReceived

Feed = Callable[[bytes], Sequence[object]]


class Maker(Protocol):
    """Makes a fresh decoder in the same state each time."""

    def __call__(self) -> Feed: ...


class Payload(Struct, frozen=True):
    """Bytes of one stream or pair that came in a row; `fin` where the frames themselves are compared."""

    ident: int
    data: bytes
    fin: bool = False


def joined(events: Iterable[object]) -> list[object]:
    """Events with payloads as bytes, those of one stream that stand side by side as one."""
    out: list[object] = []
    for event in events:
        payload = _payload(event)
        before = out[-1] if out else None
        if payload is None:
            out.append(event)
        elif isinstance(before, Payload) and before.ident == payload.ident and not before.fin:
            out[-1] = Payload(payload.ident, before.data + payload.data, payload.fin)
        else:
            out.append(payload)
    return out


def _payload(event: object) -> Payload | None:
    match event:
        case Data(ident, data, fin):
            return Payload(ident, bytes(data), fin)
        case DataReceived(ident, data) | PairData(ident, data):
            return Payload(ident, bytes(data))
        case _:
            return None


def feed_in(make: Maker, pieces: Iterable[bytes]) -> list[object]:
    feed = make()
    return joined([event for piece in pieces for event in feed(piece)])


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    """`data` in pieces, cut at these positions."""
    edges = [0, *sorted({position % (len(data) + 1) for position in at}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def assert_same_however_cut(make: Maker, data: bytes, expected: Sequence[object]) -> None:
    """Whole, byte by byte, cut in two at every place, and with the start of one more frame behind it."""
    wanted = joined(expected)
    assert feed_in(make, [data]) == wanted
    assert feed_in(make, [data[i : i + 1] for i in range(len(data))]) == wanted
    for position in range(1, len(data)):
        assert feed_in(make, [data[:position], data[position:]]) == wanted
    assert feed_in(make, [data + b"\x80\x03\x00"]) == wanted
