"""Owns records as the loop would publish them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

from watcher.board.board import Board
from watcher.board.records import ForwardRecord, PlanRecord, SkaffoldRecord, SkipRecord, timestamp

TIME = timestamp(datetime(2026, 11, 23, 22, 48, 4, 616000, UTC))


def forward(name: str = "web", state: str = "ready", **fields: Any) -> ForwardRecord:
    """A service's forward on 127.0.0.1:8080."""
    given: dict[str, Any] = {
        "time": TIME,
        "id": f"services/default/service/{name}/8080/127.0.0.1",
        "source": "services",
        "state": state,
        "resource_type": "service",
        "resource_name": name,
        "namespace": "default",
        "container": "",
        "remote_port": 8080,
        "local_address": "127.0.0.1",
        "local_port": 8080,
        "requested_port": 8080,
        "pod": "web-6c",
        "pod_port": 8080,
        "url": "http://127.0.0.1:8080",
        "reason": "",
    }
    return ForwardRecord(**given | fields)


def skip(name: str = "dns", **fields: Any) -> SkipRecord:
    given: dict[str, Any] = {
        "time": TIME,
        "id": f"services/default/service/{name}/53/UDP/127.0.0.1",
        "source": "services",
        "resource_type": "service",
        "resource_name": name,
        "namespace": "default",
        "container": "",
        "remote_port": 53,
        "reason": "port 53 is UDP, and Kubernetes forwards TCP only",
    }
    return SkipRecord(**given | fields)


def skaffold(**fields: Any) -> SkaffoldRecord:
    given: dict[str, Any] = {
        "time": TIME,
        "change": "attached",
        "attached": True,
        "phase": "idle",
        "iteration": 1,
        "run_id": "run-1",
        "reason": "",
        "failed": False,
    }
    return SkaffoldRecord(**given | fields)


def plan(*, settled: bool = True) -> PlanRecord:
    return PlanRecord(time=TIME, settled=settled)


def confirmed_at_once(_ident: str, _client_port: int, confirmed: Callable[[], None]) -> AbstractContextManager[None]:
    """A runtime that confirms each connection at once, for `Board.confirming`."""
    confirmed()
    return nullcontext()


def subscriptions(board: Board) -> int:
    """How many subscriptions are open."""
    return len(board._subscriptions)
