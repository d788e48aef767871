"""A Docker engine whose answers meet a bug of ours: containers stay as they were known, and are listed again."""

from __future__ import annotations

import logging
from pathlib import Path
from random import Random

import h11
import pytest
import trio

from forwarders import tasks
from forwarders.tasks import kept
from tests.bulkheads.faults import FAULTS, Seam
from watcher.docker.containers import ContainerWatch
from watcher.docker.daemon import Daemon

ANSWERS = {"/version": b'{"Platform":{"Name":"here"}}', "/containers/json": b"[]"}


async def engine(stream: trio.SocketStream) -> None:
    """Answers questions, and says one event each time it is listened to."""
    http = h11.Connection(h11.SERVER)
    while True:
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(await stream.receive_some())
        if not isinstance(event, h11.Request):
            return
        path = event.target.decode().partition("?")[0]
        while not isinstance(http.next_event(), h11.EndOfMessage):
            pass
        body = ANSWERS.get(path, b"{}\n")
        length = [("Content-Length", str(len(body)))] if path in ANSWERS else []
        await stream.send_all(http.send(h11.Response(status_code=200, headers=length)) or b"")
        await stream.send_all(http.send(h11.Data(body)) or b"")
        if path not in ANSWERS:
            await trio.sleep_forever()
        await stream.send_all(http.send(h11.EndOfMessage()) or b"")
        http.start_next_cycle()


async def serve(path: str, task_status: trio.TaskStatus[None]) -> None:
    with trio.socket.socket(trio.socket.AF_UNIX) as listener:
        await listener.bind(path)
        listener.listen()
        task_status.started()
        await trio.serve_listeners(engine, [trio.SocketListener(listener)])


# httpx leaves its generators to trio's finalizer where a stream is left early.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
async def test_a_list_that_cannot_be_read(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind of exception in turn: none ends the watch, and at last the list is known."""
    monkeypatch.setattr(tasks, "FIRST_PAUSE", 0.01)
    seam = Seam(monkeypatch, "watcher.docker.containers:decode_containers")
    seam.arm(FAULTS)
    await nursery.start(serve, str(tmp_path / "docker.sock"))
    changed = trio.Event()
    watch = ContainerWatch(Daemon(socket=str(tmp_path / "docker.sock"), url="http://docker"), changed.set, Random(0))
    nursery.start_soon(kept, logging.getLogger("portside.test"), "watching Docker's containers", watch.run)
    with trio.fail_after(60):
        await changed.wait()
    assert seam.left == []
    assert watch.snapshot.synced
    nursery.cancel_scope.cancel()
