"""portside waits, and says so, for an API server that does not run and a Skaffold that has not started."""

from __future__ import annotations

import signal

from tests.cli.made import Place, closed_port, problems_in
from tests.support.process import portside


async def test_forward_waits_for_an_api_server(place: Place) -> None:
    """Without an API server the port is bound, the reason is shown, and portside ends cleanly."""
    command = ("forward", "svc/web", ":8080")
    async with portside(*command, environment=place.environment, folder=place.folder) as program:
        await program.wait_for(lambda _: "cannot be reached" in (program.last("web") or {}).get("reason", ""))
        record = program.last("web")
        assert record is not None
        assert record["state"] == "listening"
        assert record["localPort"]
        assert await program.end(signal.SIGTERM) == 0
        assert problems_in(program.stderr) == []


async def test_watch_waits_for_skaffold_and_says_so(place: Place) -> None:
    """`watch` started before Skaffold reports that it waits."""
    port = closed_port()
    command = ("watch", "--skaffold", str(port))
    async with portside(*command, environment=place.environment, folder=place.folder) as program:
        await program.says(f"no Skaffold answers at http://127.0.0.1:{port}; waiting for one")
        assert await program.end(signal.SIGINT) == 0
        assert "Traceback" not in program.stderr


async def test_watch_says_that_the_api_server_is_away(place: Place) -> None:
    """Without a forward to show it, an API server that does not run is reported for the services."""
    command = ("watch", "--skaffold", str(closed_port()), "--port-forward=services")
    async with portside(*command, environment=place.environment, folder=place.folder) as program:
        await program.wait_for(lambda records: any("cannot be reached" in r.get("reason", "") for r in records))
        assert {r["kind"] for r in program.records} == {"skip", "plan"}
        assert await program.end() == 0


async def test_plain_output_says_a_wait_in_one_line(place: Place) -> None:
    """A wait of more than a second is one line, printed once."""
    command = ("forward", "svc/web", "0:8080")
    async with portside(*command, environment=place.environment, folder=place.folder, output="plain") as program:
        await program.wait_for(lambda _: bool(program.others))
        assert program.others[0].startswith(
            "Waiting to forward service/web in namespace default, remote port 8080 -> http://127.0.0.1:"
        )
        assert "cannot be reached" in program.others[0]
        assert await program.end() == 0
        assert len(program.others) <= 2  # the second: that it stopped
