"""Taken ports under `portside forward`: a preference moves and says so, a demand fails alone and names the holder."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fixtures.cluster.bed import Bed
from tests.support.objects import apply, deployment, rolled_out, service
from tests.support.probe import get
from tests.support.process import Portside, Record, portside
from tests.support.sockets import free_port, held, is_free, listening

pytestmark = pytest.mark.cluster

SUBSTITUTES = range(4503, 4534)


@pytest.fixture(scope="module")
def web(bed: Bed, space: str) -> str:
    """The namespace of a service `web` whose port is one that nobody holds, nor the ten after it."""
    apply(bed, space, deployment("web"), service("web", port=9480))
    rolled_out(bed, space, "web")
    return space


@pytest.fixture
def taken() -> Iterator[int]:
    with listening(0) as sock:
        yield int(sock.getsockname()[1])


async def test_a_preference_moves_to_the_next_port(bed: Bed, web: str) -> None:
    """The asked port is taken: another is used, the reason names port and holder."""
    with held([9480]):
        async with portside("forward", "-n", web, "svc/web", "9480", environment=bed.environment()) as running:
            record = await running.ready("web")
            assert record["requestedPort"] == 9480
            assert record["localPort"] in range(9481, 9491)
            assert record["reason"].startswith("port 9480 on 127.0.0.1 is taken")
            assert f"{os.getpid()}" in record["reason"]
            assert f"using {record['localPort']}" in record["reason"]
            assert (await get(record["localPort"]))[0] == 200


async def test_the_systems_choice_comes_last(bed: Bed, web: str) -> None:
    """The asked port and all 41 substitutes are taken: the system gives one, and that is said."""
    with held([*range(9480, 9491), *SUBSTITUTES]):
        async with portside("forward", "-n", web, "svc/web", "9480", environment=bed.environment()) as running:
            record = await running.ready("web")
            assert record["localPort"] not in {*range(9480, 9491), *SUBSTITUTES}
            assert f"using {record['localPort']}" in record["reason"]
            assert (await get(record["localPort"]))[0] == 200


async def test_strict_ports_fail_alone(bed: Bed, web: str) -> None:
    """--strict-ports makes a demand of each wish: the one that is taken fails, naming the holder, the other serves."""
    words = ("forward", "-n", web, "--strict-ports", "svc/web", "9480", "deploy/web", ":8080")
    with held([9480]):
        async with portside(*words, environment=bed.environment()) as running:
            other = await running.ready("web", resourceType="deployment")
            failed = running.last("web", resourceType="service") or {}
            assert failed["state"] == "failed"
            assert "port 9480 on 127.0.0.1 is taken" in failed["reason"]
            assert str(os.getpid()) in failed["reason"]
            assert (await get(other["localPort"]))[0] == 200
            assert await running.end() == 0


async def test_a_demand_that_fails_leaves_the_others(bed: Bed, web: str, taken: int) -> None:
    """LOCAL:PORT is not moved: that forward fails, the others go on."""
    free = free_port()
    words = ("forward", "-n", web, "svc/web", f"{taken}:9480", f"{free}:9480")
    async with portside(*words, environment=bed.environment()) as running:
        record = await running.ready("web", requestedPort=free)
        assert record["localPort"] == free
        assert (running.last("web", requestedPort=taken) or {})["state"] == "failed"
        assert (await get(free))[0] == 200


async def test_all_demands_fail(bed: Bed, web: str, taken: int) -> None:
    """None is left: exit 1."""
    words = ("forward", "-n", web, "svc/web", f"{taken}:9480")
    async with portside(*words, environment=bed.environment()) as running:
        assert await running.wait(20) == 1
        failed, stopped = [record for record in running.records if record["kind"] == "forward"][-2:]
        assert (failed["state"], stopped["state"]) == ("failed", "stopped")
        assert f"port {taken} on 127.0.0.1 is taken" in failed["reason"]


async def test_not_found_at_the_start(bed: Bed, web: str) -> None:
    """As with kubectl: one line that names it, exit 1, nothing bound."""
    words = ("forward", "-n", web, "svc/nobody", "9480:80")
    async with portside(*words, environment=bed.environment()) as running:
        assert await running.wait(20) == 1
        assert 'services "nobody" not found' in running.stderr
        assert running.stderr.count("\n") == 1
        assert not running.records
    assert is_free(9480)


async def test_the_systems_port_is_kept(bed: Bed, web: str) -> None:
    """`:PORT`: a port of the system's choice, the same for as long as the forward lives."""
    async with portside("forward", "-n", web, "svc/web", ":9480", environment=bed.environment()) as running:
        before = await running.ready("web")
        bed.kubectl("-n", web, "delete", "pod", "-l", "app=web", "--wait=false")
        await running.wait_for(lambda _: _moved(running, before))
        assert (await running.ready("web"))["localPort"] == before["localPort"]
        assert (await get(before["localPort"]))[0] == 200


def _moved(running: Portside, before: Record) -> bool:
    last = running.last("web") or {}
    return bool(last["state"] == "ready" and last["pod"] != before["pod"])
