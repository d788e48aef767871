"""Serves /metrics: a table of all metrics, their values from the board, and Prometheus' text format.

The values are read at once; the text is made in a thread, so that no forward waits for it. The Prometheus library is
imported by the first request, and its global registry is not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Literal

import trio
from msgspec import Struct

from forwarders.spec import Counts, State
from watcher.board.board import Board
from watcher.board.http import StatusResponse
from watcher.board.records import ForwardRecord

if TYPE_CHECKING:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

# Labels of a forward at one local address. `id` alone is unique; the others are for people.
FORWARD = (
    "id",
    "source",
    "context",
    "namespace",
    "resource_type",
    "resource_name",
    "container",
    "remote_port",
    "local_address",
)


class Metric(Struct, frozen=True):
    """One metric as Prometheus shows it."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...] = ()


METRICS = (
    Metric("portside_build_info", "gauge", "1, with portside's version.", ("version",)),
    Metric("portside_settled", "gauge", "1 once the lists are complete and a deploy has ended."),
    Metric("portside_ready", "gauge", "1 while /readyz answers 200."),
    Metric("portside_forwards", "gauge", "Forwards in each state.", ("state",)),
    Metric("portside_skipped", "gauge", "Services, containers and entries that are not forwarded."),
    Metric("portside_sessions", "gauge", "Open sessions to pods, including spare ones."),
    Metric("portside_event_readers", "gauge", "Readers of /v1/events, including pages."),
    Metric("portside_forward_ready", "gauge", "1 while a pod serves the forward.", FORWARD),
    Metric("portside_forward_start_time_seconds", "gauge", "When the forward began, in Unix time.", FORWARD),
    Metric("portside_forward_connections", "gauge", "Open local connections, including those that wait.", FORWARD),
    Metric("portside_forward_connections_held", "gauge", "Local connections that wait for a pod.", FORWARD),
    Metric("portside_forward_connections_total", "counter", "Local connections accepted.", FORWARD),
    Metric("portside_forward_errors_total", "counter", "Connections that failed.", FORWARD),
    Metric(
        "portside_forward_bytes_total",
        "counter",
        "Bytes sent to pods and received from pods.",
        (*FORWARD, "direction"),
    ),
)

STATES = tuple(state.value for state in State if state is not State.STOPPED)

Values = dict[str, list[tuple[tuple[str, ...], float]]]


async def metrics_response(board: Board, readers: int, accept: str) -> StatusResponse:
    """The current values, in the format that the request's Accept header asks for."""
    values = _values(board, readers)
    body, media_type = await trio.to_thread.run_sync(_text, values, accept)
    return StatusResponse(body=body, media_type=media_type)


def _values(board: Board, readers: int) -> Values:
    """The current values of each metric: pairs of label values and number."""
    states = [record.state for record in board.forwards.values()]
    values: Values = {
        "portside_build_info": [((_version(),), 1)],
        "portside_settled": [((), board.settled)],
        "portside_ready": [((), board.ready)],
        "portside_forwards": [((state,), states.count(state)) for state in STATES],
        "portside_skipped": [((), len(board.skips))],
        "portside_sessions": [((), board.sessions())],
        "portside_event_readers": [((), readers)],
    }
    counts = board.counters()
    for ident, record in board.forwards.items():
        labels = [str(getattr(record, label)) for label in FORWARD]
        for name, extra, value in _of_forward(record, counts.get(ident)):
            values.setdefault(name, []).append(((*labels, *extra), value))
    return values


@cache
def _version() -> str:
    from importlib import metadata

    return metadata.version("portside")


def _of_forward(record: ForwardRecord, counts: Counts | None) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """One forward's values: metric, further label values, number. A port that others hold has no counters."""
    yield "portside_forward_ready", (), record.state == "ready"
    if counts is None:
        return
    yield "portside_forward_start_time_seconds", (), counts.since.timestamp()
    yield "portside_forward_connections", (), counts.connections
    yield "portside_forward_connections_held", (), counts.held
    yield "portside_forward_connections_total", (), counts.connections_total
    yield "portside_forward_errors_total", (), counts.errors
    yield "portside_forward_bytes_total", ("sent",), counts.sent
    yield "portside_forward_bytes_total", ("received",), counts.received


class _Collector:
    """Gives the values of one response to the Prometheus library."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        families = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
        for metric in METRICS:
            family = families[metric.kind](metric.name, metric.help, labels=metric.labels)
            for labels, value in self._values.get(metric.name, ()):
                family.add_metric(labels, value)
            yield family


def _text(values: Values, accept: str) -> tuple[bytes, str]:
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry()
    registry.register(_Collector(values))
    ProcessCollector(registry=registry)  # process_*: memory, CPU, open files
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type
