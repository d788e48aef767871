"""Plays plans and forward states through a real Loop, with a fleet that only records its calls."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import Literal, cast
from unittest.mock import patch

from msgspec import Struct

from forwarders.fleet import Fleet
from forwarders.spec import Endpoint, ForwardSpec, PodRef, PortPolicy, PortRequest, State, Status
from watcher.board.board import Board
from watcher.board.records import ExplainRecord
from watcher.loop import Loop
from watcher.plan.facts import Facts
from watcher.plan.plan import Plan
from watcher.plan.verdicts import PlannedForward, Published, ResourceRef, Skip

Verdict = Literal["wanted", "skip", "published"]


class Said(Struct, frozen=True):
    """A plan's verdict on one id; another `variant` is another port or another reason."""

    verdict: Verdict
    variant: int = 0


def subject(ident: str) -> ResourceRef:
    return ResourceRef(
        source="services", resource_type="service", resource_name=ident, namespace="shop", remote_port=80
    )


def plan_of(verdicts: Mapping[str, Said]) -> Plan:
    """A plan with this verdict for each id."""
    forwards, skips, published = [], [], []
    for ident, said in verdicts.items():
        match said.verdict:
            case "wanted":
                spec = ForwardSpec(
                    id=ident,
                    address="127.0.0.1",
                    port=PortRequest(PortPolicy.EXPLICIT, port_of(ident, said)),
                    group=ident,
                )
                forwards.append(
                    PlannedForward(
                        id=ident,
                        subject=subject(ident),
                        spec=spec,
                        endpoints=(),
                        waiting_for="",
                        broken="",
                        because="a test asks for it",
                    )
                )
            case "skip":
                skips.append(Skip(id=ident, subject=subject(ident), reason=reason_of(said)))
            case "published":
                port = port_of(ident, said)
                published.append(
                    Published(id=ident, subject=subject(ident), address="127.0.0.1", local_port=port, because="Docker")
                )
    return Plan(tuple(forwards), tuple(skips), (), tuple(published))


def port_of(ident: str, said: Said) -> int:
    return 9000 + 10 * ord(ident) + said.variant


def reason_of(said: Said) -> str:
    return f"rule {said.variant} excludes it"


class MemoryFleet:
    """Runs nothing. Reports the states that the test sets, like a Fleet."""

    def __init__(self) -> None:
        self.loop: Loop
        self.running: dict[str, Status] = {}
        self._ports: dict[str, int] = {}
        self.broken = False  # no forward can be started: a bug in the fleet
        self.silent = False  # a forward that ends without a report: a bug in it

    @property
    def ports(self) -> Mapping[str, int]:
        return {ident: status.local_port for ident, status in self.running.items() if status.local_port}

    def reserve(self, specs: Iterable[ForwardSpec]) -> None:
        pass

    async def start(self, spec: ForwardSpec, *_: object) -> None:
        if self.broken:
            raise RuntimeError("a bug in starting forwards")
        self._ports[spec.id] = spec.port.number
        self.running[spec.id] = Status(id=spec.id, state=State.WAITING)
        self.becomes(spec.id, State.LISTENING, "no pod yet")

    def update(self, ident: str, *_: object) -> None:
        pass

    async def stop(self, ident: str) -> None:
        status = self.running.pop(ident)
        if not self.silent:
            self.loop.report(Status(id=ident, state=State.STOPPED, local_port=status.local_port))

    def becomes(self, ident: str, state: State, reason: str = "") -> None:
        if ident in self.running:
            pod = Endpoint(PodRef("shop", f"{ident}-0", "uid"), 80, ready=True) if state is State.READY else None
            status = Status(id=ident, state=state, local_port=self._ports[ident], endpoint=pod, reason=reason)
            self.running[ident] = status
            self.loop.report(status)

    def fails(self, ident: str, reason: str) -> None:
        """Its port could not be bound."""
        self.running[ident] = status = Status(id=ident, state=State.FAILED, reason=reason)
        self.loop.report(status)


class Play:
    """A loop over plans that the test gives it. `forwards` and `skips` are the truth."""

    def __init__(self) -> None:
        self.board = Board(explain=self._explain, retry=self._retry)
        self.fleet = MemoryFleet()
        self.loop = self.fleet.loop = Loop(Facts, lambda _: None, self.board)
        self._verdicts: dict[str, Said] = {}

    def _retry(self, ident: str) -> str:
        return self.loop.retry(ident)

    async def _explain(self) -> list[ExplainRecord]:
        return await self.loop.explained()

    async def plan(self, verdicts: Mapping[str, Said]) -> None:
        self._verdicts = dict(verdicts)

        def in_one_step(_: Facts) -> Generator[None, None, Plan]:
            yield
            return plan_of(verdicts)

        with patch("watcher.loop.plan_in_steps", in_one_step):
            await self.loop.plan_once(cast("Fleet", self.fleet))

    @property
    def forwards(self) -> dict[str, tuple[str, int]]:
        """State and local port of what is forwarded, by id."""
        ours = {ident: (status.state.value, status.local_port) for ident, status in self.fleet.running.items()}
        dockers = {i: ("ready", port_of(i, s)) for i, s in self._verdicts.items() if s.verdict == "published"}
        return ours | dockers

    @property
    def missing(self) -> set[str]:
        """What the plan wants and a bug in the fleet keeps from being started."""
        wanted = {ident for ident, said in self._verdicts.items() if said.verdict == "wanted"}
        return wanted - self.fleet.running.keys()

    @property
    def skips(self) -> dict[str, str]:
        """Why something is not forwarded, by id."""
        return {ident: reason_of(said) for ident, said in self._verdicts.items() if said.verdict == "skip"}
