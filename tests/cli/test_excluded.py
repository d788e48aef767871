"""An edit of portside.yaml excludes a ready forward; every output shows that."""

from __future__ import annotations

import json

import httpx
import trio

from fixtures.embedded import EmbeddedCluster
from tests.cli.made import Place
from tests.cli.test_wait import waiting
from tests.support.process import portside
from watcher.board.environment import HEADER

NOTHING = "apiVersion: portside/v1\n"
EXCLUDED = f"{NOTHING}exclude:\n  - kind: service\n    name: web\n"


async def test_one_truth_from_outside(cluster: EmbeddedCluster, place: Place) -> None:
    """JSON lines, events, HTTP, metrics, status, explain, wait and the env file agree, also when it is back."""
    place.write("portside.yaml", NOTHING)
    words = ("watch", "--cluster", "--port-forward=services", "--env-file", "env")
    async with (
        portside(*words, environment=place.environment, folder=place.folder) as program,
        httpx.AsyncClient(trust_env=False, timeout=60) as client,
    ):
        forward = await program.ready("web")
        url = program.first_line.rpartition(" ")[2]
        async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as events:
            await events.send_all(b"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            told = b""
            while b'"state":"ready"' not in told:
                told += await events.receive_some()
            place.write("portside.yaml", EXCLUDED)
            await program.wait_for(lambda records: any(r["kind"] == "skip" and not r["over"] for r in records))
            while b'"kind":"skip"' not in told:
                told += await events.receive_some()
        lines = [line.removeprefix("data: ") for line in told.decode().splitlines() if line.startswith("data: ")]
        seen = [record for record in map(json.loads, lines) if record.get("id") == forward["id"]]
        assert [record.get("state", record["kind"]) for record in seen] == ["ready", "stopped", "skip"]
        printed = [r.get("state", r["kind"]) for r in program.records if r.get("id") == forward["id"]]
        assert printed[-3:] == ["ready", "stopped", "skip"]
        assert (await client.get(f"{url}/v1/forwards")).json() == []
        assert (await client.get(f"{url}/readyz")).status_code == 200
        metrics = (await client.get(f"{url}/metrics")).text
        assert 'portside_forwards{state="ready"} 0.0' in metrics
        assert "portside_skipped 1.0" in metrics
        assert "portside_forward_ready{" not in metrics
        status, explained = [
            await trio.to_thread.run_sync(lambda words=words: place.portside(*words))  # type: ignore[misc]  # bound now
            for words in (("status",), ("explain", "svc/web"))
        ]
        assert len(status.stdout.splitlines()) == 1  # the heading
        async with waiting(place, "svc/web") as waiter:
            await waiter.says("waiting: svc/web is not forwarded: ")
        assert explained.stdout.startswith("no ")
        with trio.fail_after(60):
            while await trio.Path(place.folder / "env").read_text() != HEADER:
                pass
        place.write("portside.yaml", NOTHING)
        await program.wait_for(lambda _: (program.last("web") or {})["state"] == "ready")
        after = [r for r in program.records if r.get("id") == forward["id"]]
        over = next(index for index, record in enumerate(after) if record.get("over"))
        assert [record["kind"] for record in after[over + 1 :]] == ["forward"] * len(after[over + 1 :])
