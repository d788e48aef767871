"""Another user of this machine posts events to a real Skaffold, which passes them on: no forward is affected."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.skaffold import hostile
from tests.skaffold_e2e.developing import all_ready, text_at
from tests.skaffold_e2e.test_watch import attached, dev, watching
from tests.support.probe import probing
from tests.support.skaffold import Project
from tests.support.sockets import free_port

pytestmark = pytest.mark.skaffold

COUNT = 1000
NOBODY = 65534
# Reads one body a line and posts each on a connection of its own; says how many were taken, as whom.
POSTER = f"""
import encodings.idna, http.client, os, sys
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
taken = 0
for body in sys.stdin.buffer.read().split(b"\\n"):
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
    connection.request("POST", "/v2/events/handle", body, {{"Content-Type": "text/plain"}})
    answer = connection.getresponse()
    answer.read()  # a reader that leaves early ends Skaffold (SIGPIPE)
    taken += answer.status == 200
    connection.close()
print(taken, os.getuid())
"""


def posts() -> Iterator[bytes]:
    """The worst first; then every kind of event with wrong values; then one that is cut, or nested without end.

    Well-formed false events are not among them, since Skaffold itself could send them.
    """
    for digits in (hostile.DIGITS, "9" * 4301, "1" * 19):
        event = hostile.BODIES["portEvent"] | {"taskId": f"PortForward-{digits}", "resourceName": digits[:50]}
        yield _posted({"portEvent": event})
    for body in hostile.bodies():
        if not body.keys() & {"metaEvent", "taskEvent"}:
            yield _posted(body)
    whole = _posted({"portEvent": hostile.BODIES["portEvent"]})
    yield from (whole[:cut] for cut in range(1, len(whole)))
    yield b'{"metaEvent":' * 10_000
    yield b"[" * 100_000


def _posted(event: dict[str, Any]) -> bytes:
    """The task id has another name on the stream than in a request, and a request may have only one of them."""
    return json.dumps({kind: _without(body, "task_id") for kind, body in event.items()}).encode()


def _without(body: object, field: str) -> object:
    return {name: value for name, value in body.items() if name != field} if isinstance(body, dict) else body


async def post(port: int) -> int:
    """The number of events that Skaffold accepted."""
    bodies = list(posts())
    step = len(bodies) // COUNT
    chosen = b"\n".join([*bodies[:3], *islice(bodies, 3, None, step), *bodies[-2:]][:COUNT])
    run = partial(trio.run_process, stdin=chosen, capture_stdout=True)
    done = await run([sys.executable, "-c", POSTER, str(port)])
    taken, user = map(int, done.stdout.split())
    assert user == NOBODY
    return taken


async def test_events_of_another_user(project: Project, tmp_path: Path) -> None:
    """Existing forwards continue. A portside that starts later gets all the events in its replay, and attaches."""
    port = free_port()
    async with dev(project, port) as skaffold, watching(project, port) as running:
        records = await all_ready(running)
        await skaffold.idle()
        before = len(running.records)
        async with probing(records["web"]["localPort"], interval=0.1) as verdicts:
            await verdicts.good(5)
            taken = await post(port)
            await verdicts.good(20)
        assert taken > 200
        assert not verdicts.failures
        # On a busy machine a reason may say that connections wait.
        known = {one["id"]: (one["state"], one["pod"], one["localPort"]) for one in records.values()}
        told = [one for one in running.records[before:] if one["kind"] == "forward" and one["id"] in known]
        assert [one for one in told if (one["state"], one["pod"], one["localPort"]) != known[one["id"]]] == []
        async with watching(project, port) as later:
            await attached(later)
            for record in (await all_ready(later)).values():
                assert (await text_at(record)).startswith(f"hello from {project.namespace}")
            assert await later.end() == 0
        project.save(f"hello from {project.namespace}, version 2")
        await skaffold.idle(2)
        assert await running.end() == 0
        assert "Traceback" not in running.stderr + later.stderr
