"""Owns the way to the recorded event streams of fixtures/streams, and one list of their names."""

from __future__ import annotations

from pathlib import Path

from watcher.skaffold.events import EventDecoder, SkaffoldEvent
from watcher.skaffold.state import SkaffoldState, apply

STREAMS = Path(__file__).parents[2] / "fixtures" / "streams"
NAMES = sorted(path.name.removesuffix(".v2.jsonl") for path in STREAMS.glob("*.v2.jsonl"))


def raw(name: str) -> bytes:
    return (STREAMS / f"{name}.v2.jsonl").read_bytes()


def events(name: str) -> list[SkaffoldEvent]:
    return EventDecoder().feed(raw(name))


def folded(name: str) -> SkaffoldState:
    state = SkaffoldState()
    for event in events(name):
        state = apply(state, event)
    return state
