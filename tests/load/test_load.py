"""Much at once on the real cluster: few of each in CI, the full figures with --long.

Everything is answered, and what it costs is bounded. The figures of a long run stand in docs/load.md.
"""

from __future__ import annotations

import json
import secrets
from functools import partial
from typing import Any

import psutil
import pytest
import trio

from fixtures.cluster.bed import Bed
from tests.load.connections import Kept, one_after_the_other
from tests.load.gauge import gauging
from tests.support.objects import Manifest, apply, deployment, namespace, rolled_out
from tests.support.probe import get
from tests.support.process import portside

pytestmark = pytest.mark.cluster

PORTS = [8080, 8081, 8082, 8083, 8084]
MINUTE = 60.0
# Between two looks at the same load Python's allocator may keep a few arenas more.
FLAT = 4.0


def sizes(*few: int, full: tuple[int, ...]) -> pytest.MarkDecorator:
    names = ["count", "bound"]
    return pytest.mark.parametrize(names, [few, pytest.param(*full, marks=pytest.mark.long)])


@sizes(100, 90, full=(2000, 250))
async def test_open_connections_on_one_forward(bed: Bed, web: str, count: int, bound: int) -> None:
    """Every one is answered, and again while all are open; memory stays within its bound (MiB)."""
    async with portside("forward", "-n", web, "svc/web", ":8080", environment=bed.environment()) as running:
        port = (await running.ready("web"))["localPort"]
        async with gauging(running) as gauge:
            with Kept() as kept, trio.fail_after(10 * MINUTE):
                await kept.open(port, count)
                await kept.ask_all()
                await kept.ask_all()
                assert (await get(port))[0] == 200
        assert gauge.peak() < bound
        assert gauge.most_descriptors > count


@sizes(4, 90, full=(60, 200))
async def test_forwards_over_many_pods(bed: Bed, count: int, bound: int) -> None:
    """Five forwards to each of so many pods are all ready and all answer."""
    with namespace(bed, f"load-{secrets.token_hex(4)}") as space:
        many = deployment("many", replicas=count, probe=False, HTTP_PORTS=",".join(map(str, PORTS)))
        apply(bed, space, many)
        await trio.to_thread.run_sync(partial(_rolled_out, bed, space, "many"))
        pods = _names(bed, space, "pods")
        ports = [f":{port}" for port in PORTS]
        wanted = [word for pod in pods for word in (f"pod/{pod}", *ports)]
        async with portside("forward", "-n", space, *wanted, environment=bed.environment()) as running:
            async with gauging(running) as gauge:
                everything = len(pods) * len(PORTS)
                await running.wait_for(
                    lambda _: sum(one["state"] == "ready" for one in running.forwards) == everything, timeout=120
                )
                for forward in running.forwards:
                    assert (await get(forward["localPort"]))[0] == 200
            assert len(pods) == count
            assert gauge.peak() < bound


@pytest.mark.parametrize(("rate", "seconds"), [(50.0, 4.0), pytest.param(100.0, 10 * MINUTE, marks=pytest.mark.long)])
async def test_new_connections_for_a_long_time(bed: Bed, web: str, rate: float, seconds: float) -> None:
    """None fails, and memory is as flat in the last minute as it was in the second."""
    async with portside("forward", "-n", web, "svc/web", ":8080", environment=bed.environment()) as running:
        port = (await running.ready("web"))["localPort"]
        async with gauging(running) as gauge:
            began = trio.current_time()
            fared = await one_after_the_other(port, rate, seconds)
        print(f"load: {dict(fared)}")  # noqa: T201
        assert fared == {"200": int(rate * seconds)}
        if seconds > 3 * MINUTE:
            second = gauge.peak(began + MINUTE, began + 2 * MINUTE)
            last = gauge.peak(began + seconds - MINUTE)
            print(f"load: {second:.1f} MiB in the second minute, {last:.1f} MiB in the last")  # noqa: T201
            assert last <= second + FLAT


@sizes(200, 90, full=(5000, 220))
async def test_a_namespace_with_many_pods(bed: Bed, web: str, count: int, bound: int) -> None:
    """Pods that no node ever runs are listed in pages and watched; the forward beside them is ready and follows."""
    with namespace(bed, f"load-{secrets.token_hex(4)}") as space:
        await trio.to_thread.run_sync(partial(crowd, bed, space, count))
        apply(bed, space, deployment("web", probe=False))
        await trio.to_thread.run_sync(partial(_rolled_out, bed, space, "web"))
        async with portside("forward", "-n", space, "deploy/web", ":8080", environment=bed.environment()) as running:
            async with gauging(running) as gauge:
                first = await running.ready("web", timeout=120)
                assert (await get(first["localPort"]))[0] == 200
                await trio.to_thread.run_sync(partial(_replaced, bed, space))
                await running.ready("web", timeout=120)
                assert (await get(first["localPort"]))[0] == 200
            assert gauge.peak() < bound


async def test_file_descriptors_run_out(bed: Bed, web: str) -> None:
    """Accepting pauses and says so; who was accepted is answered; when others have gone the rest is, too."""
    async with portside("forward", "-n", web, "svc/web", ":8080", environment=bed.environment()) as running:
        port = (await running.ready("web"))["localPort"]
        process = psutil.Process(running.process.pid)
        limit = process.num_fds() + 60
        process.rlimit(psutil.RLIMIT_NOFILE, (limit, limit))
        with Kept() as first, Kept() as others:
            await first.open(port, 20)
            await others.open(port, 180)
            await running.says("accepting pauses")
            with trio.fail_after(60):
                await first.ask_all()  # over sessions that need descriptors too
                await first.close()
                await others.close(all_but=20)
                await others.ask_all()


def _rolled_out(bed: Bed, space: str, name: str) -> None:
    bed.kubectl("-n", space, "rollout", "status", f"deployment/{name}", "--timeout=600s", timeout=630)


def _replaced(bed: Bed, space: str) -> None:
    bed.kubectl("-n", space, "rollout", "restart", "deployment/web")
    rolled_out(bed, space, "web")


def _names(bed: Bed, space: str, kind: str) -> list[str]:
    listed: dict[str, Any] = json.loads(bed.kubectl("-n", space, "get", kind, "-o", "json"))
    return [item["metadata"]["name"] for item in listed["items"]]


def crowd(bed: Bed, space: str, count: int) -> None:
    """Pods that only the API knows: no scheduler serves them."""
    for start in range(0, count, 500):
        apply(bed, space, *(_unscheduled(f"crowd-{number}") for number in range(start, min(start + 500, count))))


def _unscheduled(name: str) -> Manifest:
    container = {"name": "app", "image": "none", "ports": [{"containerPort": 8080}]}
    spec = {"schedulerName": "nobody", "automountServiceAccountToken": False, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "crowd"}}, "spec": spec}
