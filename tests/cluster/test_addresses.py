"""Where `portside forward` listens: 127.0.0.1 means this machine alone, 0.0.0.0 means every address of it."""

from __future__ import annotations

import socket

import psutil
import pytest

from fixtures.cluster.bed import Bed
from tests.support.objects import apply, deployment, rolled_out
from tests.support.probe import get
from tests.support.process import Portside, portside

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def web(bed: Bed, space: str) -> str:
    apply(bed, space, deployment("web"))
    rolled_out(bed, space, "web")
    return space


def other_address() -> str:
    """An IPv4 address of this machine that is no loopback one; with a bed up there is at least its bridge's."""
    found = [
        a.address for all_of_one in psutil.net_if_addrs().values() for a in all_of_one if a.family == socket.AF_INET
    ]
    return next(address for address in found if not address.startswith("127."))


async def answers(running: Portside, host: str, **fields: str) -> bool:
    port = (await running.ready("web", 60, **fields))["localPort"]
    try:
        status, _, _ = await get(port, host=host)
    except OSError:
        return False
    return status == 200


async def test_the_default_is_this_machine_alone(bed: Bed, web: str) -> None:
    """127.0.0.1 and ::1 answer, the machine's other address does not."""
    async with portside("forward", "-n", web, "deploy/web", ":8080", environment=bed.environment()) as running:
        assert await answers(running, "127.0.0.1")
        assert await answers(running, "::1")
        assert not await answers(running, other_address())


async def test_every_address(bed: Bed, web: str) -> None:
    """0.0.0.0 answers on the machine's other address as well."""
    words = ("forward", "-n", web, "--address=0.0.0.0", "deploy/web", ":8080")
    async with portside(*words, environment=bed.environment()) as running:
        assert await answers(running, other_address())
        assert await answers(running, "127.0.0.1")


async def test_ipv6_alone(bed: Bed, web: str) -> None:
    """::1 answers, and only that."""
    words = ("forward", "-n", web, "--address=::1", "deploy/web", ":8080")
    async with portside(*words, environment=bed.environment()) as running:
        assert await answers(running, "::1")
        assert not await answers(running, "127.0.0.1")
        assert (await running.ready("web"))["url"].startswith("http://[::1]:")


async def test_two_addresses_on_one_port(bed: Bed, web: str) -> None:
    """Each has a record of its own, the port is the same, both answer."""
    other = other_address()
    words = ("forward", "-n", web, f"--address=127.0.0.1,{other}", "deploy/web", ":8080")
    async with portside(*words, environment=bed.environment()) as running:
        assert await answers(running, "127.0.0.1", localAddress="127.0.0.1")
        assert await answers(running, other, localAddress=other)
        assert len({record["localPort"] for record in running.forwards}) == 1
        assert len(running.forwards) == 2
