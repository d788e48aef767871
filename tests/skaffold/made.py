"""Owns short ways to write events down, and their fold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from watcher.skaffold.events import EventBody, Metadata, MetaEvent, PortEvent, SkaffoldEvent, TargetPort, TaskEvent
from watcher.skaffold.state import SkaffoldFacts, SkaffoldState, apply

EPOCH = datetime(2026, 11, 23, tzinfo=UTC)


def history(*bodies: EventBody) -> list[SkaffoldEvent]:
    """Events one second apart."""
    return [SkaffoldEvent(EPOCH + timedelta(seconds=second), body) for second, body in enumerate(bodies)]


def fold(all_events: list[SkaffoldEvent]) -> SkaffoldFacts:
    state = SkaffoldState()
    for event in all_events:
        state = apply(state, event)
    return state.facts


def meta(run_id: str) -> MetaEvent:
    return MetaEvent(Metadata(run_id=run_id))


def task(name: str, status: str, iteration: int = 1) -> TaskEvent:
    return TaskEvent(name, status, iteration)


def port(name: str, number: int, iteration: int = 1, resource_type: str = "service") -> PortEvent:
    return PortEvent(
        task_id=f"PortForward-{iteration}",
        local_port=number,
        resource_type=resource_type,
        resource_name=name,
        address="127.0.0.1",
        target_port=TargetPort(int_val=80),
    )
