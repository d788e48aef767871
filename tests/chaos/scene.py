"""One portside under traffic, and the four assertions for every cause.

1. Forwards that the cause does not concern: every exchange is ok, and new connections are answered while it lasts.
2. New connections are answered within WITHIN seconds of the cause's end, counted from the moment when another program
   than portside sees that it is over (/readyz, a Ready pod, `kubectl exec`). This machine is slow at times, so a single
   sample proves nothing: the median over the concerned forwards, each with its own pace, may exceed a connection's time
   in the same minute without a cause (before it or after it) by WITHIN, and no sample may exceed it by EVER.
3. No exchange has wrong bytes, or a clean end before its time. Only where the cause kills an application, an early end
   is no fault, since the kernel then ends its connections as if the application had closed them.
4. Every forward keeps its port, and portside logs no error of its own.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from fixtures.cluster.bed import Bed
from tests.chaos import report
from tests.chaos.traffic import Fate, Target, Traffic
from tests.support.process import Portside, portside

WITHIN, EVER = 1.0, 5.0
# Answered connections on each forward before a cause, and on each unaffected one during it.
PROOF = 3
APPS = ("a", "b", "c", "d")
HTTP, ECHO = 8080, 7001


@dataclass
class Scene:
    """A portside with two forwards to each of APPS, under traffic. `space`: their namespace."""

    bed: Bed
    space: str
    running: Portside
    traffic: Traffic
    baseline: float
    notes: list[str] = field(default_factory=list)

    async def kubectl(self, *arguments: str, timeout: float = 90) -> str:
        return await trio.to_thread.run_sync(partial(self.bed.kubectl, "-n", self.space, *arguments, timeout=timeout))

    async def pod(self, app: str) -> str:
        """The name of the pod that serves an app's forward now, as portside reports it."""
        return str((await self.running.ready(app, remotePort=HTTP))["pod"])

    async def endure(
        self,
        what: str,
        cause: AbstractAsyncContextManager[None],
        seconds: float,
        *,
        spared: Collection[str] = (),
        killed: Collection[str] = (),
    ) -> None:
        """Let a cause last for `seconds` and assert all of the above.

        `cause`: a context manager, entered when it has begun, left when it has ended. `spared`: the apps whose forwards
        must not notice it. `killed`: the apps that it kills.
        """
        async with cause:
            await self.traffic.answer(spared, PROOF)
            await trio.sleep(seconds)
        took: dict[str, float] = {}

        async def measure(name: str) -> None:
            took[name] = await self.traffic.first_answer(name)

        async with trio.open_nursery() as nursery:
            for name in APPS:
                nursery.start_soon(measure, name)
        self.baseline = max(self.baseline, statistics.median(await self.traffic.answer(APPS, PROOF)))
        self.traffic.stop()
        await self.traffic.over.wait()
        self._report(what, took)
        self._judge(took, spared=spared, killed=killed)

    def _report(self, what: str, took: dict[str, float]) -> None:
        counts = sum((tally.counts for tally in self.traffic.tallies.values()), Counter[Fate]())
        counted = ", ".join(f"{fate} {counts[fate]}" for fate in Fate)
        seconds = " ".join(f"{name} {took[name]:.2f}" for name in sorted(took))
        report.say(f"{what}: {counted}; answered again after {seconds} s (else: {self.baseline:.3f})")

    def _judge(self, took: dict[str, float], *, spared: Collection[str], killed: Collection[str]) -> None:
        for name, tally in self.traffic.tallies.items():
            assert not tally.counts[Fate.WRONG], tally.notes
            assert name in killed or not tally.counts[Fate.SHORT], tally.notes
            assert name not in spared or set(tally.counts) == {Fate.OK}, tally.notes
        concerned = [seconds for name, seconds in took.items() if name not in spared] or list(took.values())
        assert statistics.median(concerned) <= self.baseline + WITHIN, took
        assert max(took.values()) <= self.baseline + EVER, took
        assert "Traceback" not in self.running.stderr, self.running.stderr
        assert "bug of portside's" not in self.running.stderr, self.running.stderr
        ports = {record["localPort"] for record in self.running.forwards}
        assert ports == {port for target in self.traffic.targets.values() for port in (target.http, target.echo)}


@asynccontextmanager
async def scene(bed: Bed, space: str, kubeconfig: Path) -> AsyncIterator[Scene]:
    """Entered when every forward has been answered; the traffic continues."""
    words = [word for app in APPS for word in (f"deploy/{app}", f":{HTTP}", f":{ECHO}")]
    environment = bed.environment() | {"KUBECONFIG": str(kubeconfig)}
    async with portside("forward", "-n", space, "-v", *words, environment=environment) as running:
        traffic = Traffic([await _target(running, app) for app in APPS])
        await traffic.learn()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(traffic.run)
            took = await traffic.answer(APPS, PROOF)
            try:
                yield Scene(bed, space, running, traffic, statistics.median(took))
            except BaseException:
                print(running.stderr, *traffic.tallies.values(), sep="\n")  # noqa: T201 - pytest shows it beside a failure
                raise
            nursery.cancel_scope.cancel()


async def _target(running: Portside, app: str) -> Target:
    ports = [int((await running.ready(app, remotePort=port))["localPort"]) for port in (HTTP, ECHO)]
    return Target(app, *ports)
