"""Events as no Skaffold sends them: every field with values of wrong sizes, types and shapes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

DIGITS = "9" * 5000
GOOD = "2026-11-23T23:11:32Z"
TIMES = [
    "2026-11-23T23:11:32",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59.999999999Z",
    "9999-12-31T23:59:59-14:00",
    "10000-01-01T00:00:00Z",
    "2026-11-23T24:60:61Z",
    "2026-11-23T23:11:32+99:99",
    "2026-11-23",
    "",
    "\ud800",
    0,
    -1e300,
    [],
    {},
    True,
]
# Where a number, a text, a list or a mapping is expected.
VALUES: list[Any] = [
    None,
    True,
    "",
    "²",
    "-1",
    "\ud800",
    "\x00\x1b[31m\u202e",
    "x" * 10_000,
    DIGITS,
    int(DIGITS[:4000]),
    -int(DIGITS[:4000]),
    1 << 31,
    -(1 << 63),
    1e308,
    float("nan"),
    float("inf"),
    [],
    [[]],
    {},
    {"": None},
]
BODIES: dict[str, dict[str, Any]] = {
    "taskEvent": {"task": "Deploy", "status": "Succeeded", "iteration": 1},
    "portEvent": {
        "taskId": "PortForward-1",
        "task_id": "PortForward-1",
        "id": "",
        "localPort": 8080,
        "address": "127.0.0.1",
        "resourceType": "service",
        "resourceName": "web",
        "namespace": "default",
        "podName": "web-1",
        "containerName": "web",
        "portName": "http",
        "targetPort": {"type": 0, "intVal": 80, "strVal": ""},
    },
    "metaEvent": {"metadata": {"runID": "a", "build": {"artifacts": [{"name": "web"}]}}},
    "statusCheckSubtaskEvent": {"resource": "default:deployment/web", "status": "Succeeded"},
    "debuggingContainerEvent": {"podName": "web", "debugPorts": {"jdwp": 5005}},
    "skaffoldLogEvent": {"taskId": "Portside", "subtaskId": f"portside-0123456789abcdef-{DIGITS}.", "message": ""},
}


def bodies() -> Iterator[dict[str, Any]]:
    """Each kind of event, with each of its fields replaced by each value; as they are posted."""
    for kind, body in BODIES.items():
        for value in VALUES:
            yield {kind: value}
            yield {kind: {**body, "task_id": f"PortForward-{value}", "taskId": f"PortForward-{value}"}}
            yield from ({kind: {**body, field: value}} for field in body)
            yield from (
                {kind: {**body, field: {name: value}}} for field in body for name in ("intVal", "runID", "build")
            )


def lines() -> Iterator[bytes]:
    """The same as lines of the stream, and lines that are no JSON."""
    for body in bodies():
        yield _line({"timestamp": GOOD, **body})
    for time in TIMES:
        for kind, body in BODIES.items():
            yield _line({"timestamp": time, kind: body})
    good = _line({"timestamp": GOOD, **BODIES})
    yield from (good[:cut] for cut in range(0, len(good), 7))
    yield from (good[cut:] for cut in range(1, len(good), 7))
    for opening in (
        b"[",
        b'{"result":',
        b'{"result":{"x":',
        b'{"result":{"metaEvent":{"metadata":{"build":',
        b'{"x":[',
    ):
        yield opening * 100_000
    yield b'{"result":{"taskEvent":{"iteration":' + b"9" * 100_000 + b"}}}"
    yield b'{"result":{"taskEvent":{"iteration":1e999999999}}}'
    yield b'{"result":{"taskEvent":{"task":"' + b"x" * (2 << 20) + b'"}}}'
    yield b'{"error":{"code":' + b"9" * 30 + b"}}"
    yield b'{"result":{"taskEvent":{"task":"\xff\xfe"}}}'
    yield b'{"result":{"taskEvent":{"task":"\\ud800"}}}'
    yield b"\x00" * 100
    yield b'{"result":{},"result":[],"result":{"taskEvent":1}}'


def _line(result: dict[str, Any]) -> bytes:
    """Python's JSON knows NaN and half characters; JSON does not."""
    return json.dumps({"result": result}).encode()
