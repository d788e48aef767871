"""Plan against what runs: the shortest list of changes, in an order that works, with reserved ports going first."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from forwarders.spec import Endpoint, ForwardSpec, PodRef, PortBook, PortPolicy, PortRequest
from watcher.plan.plan import Plan
from watcher.plan.verdicts import PlannedForward, ResourceRef
from watcher.reconcile import Change, Start, Stop, Update, diff

POD = Endpoint(PodRef("default", "web-0", "uid"), 8080, ready=True)


def wanted(ident: str, ask: PortPolicy = PortPolicy.AUTOMATIC, number: int = 0, **fields: object) -> PlannedForward:
    """A forward of its own group, at 127.0.0.1."""
    made = PlannedForward(
        id=ident,
        subject=ResourceRef(
            source="services", resource_type="service", resource_name=ident, namespace="default", remote_port=80
        ),
        spec=ForwardSpec(id=ident, address="127.0.0.1", port=PortRequest(ask, number), group=ident),
        endpoints=(),
        waiting_for="",
        broken="",
        because="it is a test",
    )
    return replace(made, **fields)


def plan(*forwards: PlannedForward) -> Plan:
    return Plan(forwards, ())


class Bound:
    """What the forwarders do with changes: one machine's ports, chosen by the book, each held by one forward."""

    def __init__(self) -> None:
        self.running: dict[str, PlannedForward] = {}
        self.ports: dict[str, int] = {}
        self._book = PortBook()

    def turn(self, to: Plan) -> tuple[Change, ...]:
        changes = diff(self.running, to, self.ports)
        self._book.reserve(forward.spec for forward in to.forwards)
        for change in changes:
            self._carry_out(change)
        return changes

    def _carry_out(self, change: Change) -> None:
        match change:
            case Stop(ident):
                gone = self.running.pop(ident)
                self.ports.pop(ident, None)
                self._book.forget(gone.spec.group)
            case Start(new):
                assert new.id not in self.running
                self.running[new.id] = new
                self._bind(new.spec)
            case Update(new):
                assert self.running[new.id].spec == new.spec
                self.running[new.id] = new

    def _bind(self, spec: ForwardSpec) -> None:
        for port in self._book.choices(spec):
            free = port or next(p for p in range(40000, 50000) if p not in self.ports.values())
            if free not in self.ports.values():
                self.ports[spec.id] = free
                self._book.took(spec, free)
                return


def test_nothing_to_do_is_nothing() -> None:
    """A plan that runs already changes nothing."""
    one = wanted("a")
    assert diff({"a": one}, plan(one), {"a": 4503}) == ()


def test_other_pods_are_an_update() -> None:
    """The listener stays; so it does for another reason why nothing serves."""
    one = wanted("a")
    for changed in (
        replace(one, endpoints=(POD,)),
        replace(one, waiting_for="no pod"),
        replace(one, broken="no port"),
        replace(one, because="another rule"),
    ):
        assert diff({"a": one}, plan(changed), {"a": 4503}) == (Update(changed),)


def test_another_spec_is_another_listener() -> None:
    """Stopped before it is started again."""
    one = wanted("a", PortPolicy.EXPLICIT, 9001)
    for spec in (
        replace(one.spec, port=PortRequest(PortPolicy.EXPLICIT, 9002)),
        replace(one.spec, address="::1"),
        replace(one.spec, hold=1.0),
    ):
        changed = replace(one, spec=spec)
        assert diff({"a": one}, plan(changed), {"a": 9001}) == (Stop("a"), Start(changed))


def test_stops_then_updates_then_reserved_then_the_others() -> None:
    """Within each the plan's order."""
    gone, kept = wanted("gone"), wanted("kept")
    starts = [
        wanted("auto"),
        wanted("prefers", PortPolicy.PREFERRED, 8080),
        wanted("explicit", PortPolicy.EXPLICIT, 9001),
        wanted("system", PortPolicy.SYSTEM),
        wanted("demands", PortPolicy.DEMANDED, 9002),
    ]
    changed = replace(kept, endpoints=(POD,))
    changes = diff({"gone": gone, "kept": kept}, plan(*starts, changed), {})
    assert changes == (
        Stop("gone"),
        Update(changed),
        *(Start(starts[index]) for index in (2, 4, 0, 1, 3)),
    )


def test_who_sits_on_a_reserved_port_moves() -> None:
    """An automatic forward yields to a new explicit one, and comes back after it, elsewhere."""
    bound = Bound()
    squatter, owner = wanted("a", PortPolicy.PREFERRED, 9001), wanted("b", PortPolicy.EXPLICIT, 9001)
    bound.turn(plan(squatter))
    assert bound.turn(plan(squatter, owner)) == (Stop("a"), Start(owner), Start(squatter))
    assert bound.ports == {"b": 9001, "a": 9002}


def test_who_was_reserved_a_port_keeps_it() -> None:
    """Of two that ask for one port explicitly, the one that has it is not disturbed."""
    bound = Bound()
    first, second = wanted("a", PortPolicy.EXPLICIT, 9001), wanted("b", PortPolicy.EXPLICIT, 9001)
    bound.turn(plan(first))
    assert bound.turn(plan(second, first)) == (Start(second),)
    assert bound.ports == {"a": 9001, "b": 9002}


def test_a_reserved_forward_on_a_substitute_yields_too() -> None:
    """It asked for another port than the one it sits on."""
    bound = Bound()
    bound.turn(plan(wanted("x", PortPolicy.DEMANDED, 9001), wanted("a", PortPolicy.EXPLICIT, 9001)))
    assert bound.ports == {"x": 9001, "a": 9002}
    bound.turn(
        plan(
            wanted("x", PortPolicy.DEMANDED, 9001),
            wanted("a", PortPolicy.EXPLICIT, 9001),
            wanted("b", PortPolicy.EXPLICIT, 9002),
        )
    )
    assert bound.ports == {"x": 9001, "b": 9002, "a": 9003}


def test_a_running_reservation_evicts_nobody() -> None:
    """Only a new one does: nothing moves because something else changed."""
    bound = Bound()
    one, two = wanted("a", PortPolicy.EXPLICIT, 9001), wanted("b")
    bound.turn(plan(one, two))
    assert bound.turn(plan(replace(one, endpoints=(POD,)), two)) == (Update(replace(one, endpoints=(POD,))),)


def test_a_port_that_comes_free_goes_to_who_demanded_it() -> None:
    """Two demanded it, one had it; when that one goes, the other starts again, and only then."""
    bound = Bound()
    first, second, other = wanted("a", PortPolicy.DEMANDED, 9001), wanted("b", PortPolicy.DEMANDED, 9001), wanted("c")
    bound.turn(plan(first, second, other))
    assert bound.ports == {"a": 9001, "c": 4503}
    assert bound.turn(plan(first, second)) == (Stop("c"),)
    moved = replace(first, spec=replace(first.spec, hold=1.0))
    assert bound.turn(plan(second, moved)) == (Stop("a"), Start(moved))
    assert set(bound.turn(plan(second))) == {Stop("a"), Stop("b"), Start(second)}
    assert bound.ports == {"b": 9001}


port_requests = st.one_of(
    st.builds(
        PortRequest,
        st.sampled_from([PortPolicy.DEMANDED, PortPolicy.EXPLICIT, PortPolicy.PREFERRED]),
        st.integers(9000, 9003),
    ),
    st.builds(PortRequest, st.sampled_from([PortPolicy.AUTOMATIC, PortPolicy.SYSTEM])),
)
forwards = st.builds(
    lambda ident, port_request, pods, waiting: wanted(
        ident, port_request.policy, port_request.number, endpoints=pods, waiting_for=waiting
    ),
    st.sampled_from("abcdef"),
    port_requests,
    st.sampled_from([(), (POD,)]),
    st.sampled_from(["", "no pod"]),
)
plans = st.lists(forwards, max_size=6, unique_by=lambda forward: forward.id).map(lambda made: plan(*made))


@settings(deadline=None)  # two shared cores: time says nothing here
@given(st.lists(plans, min_size=1, max_size=5))
def test_changes_lead_to_the_plan_and_then_end(steps: list[Plan]) -> None:
    """After any history: what runs is what was planned, and the same plan once more is nothing to do."""
    bound = Bound()
    for step in steps:
        bound.turn(step)
        assert bound.running == {forward.id: forward for forward in step.forwards}
        assert bound.turn(step) == ()


@settings(deadline=None)  # two shared cores: time says nothing here
@given(st.lists(plans, min_size=1, max_size=5))
def test_a_port_that_was_asked_for_is_nobody_elses(steps: list[Plan]) -> None:
    """No forward sits on a port that another one reserves, unless it reserves it itself; and one of those has it.

    Except where one who asks for it took another while it was held: a port never changes while its forward lives.
    """
    bound = Bound()
    lived: set[str] = set()
    for step in steps:
        bound.turn(step)
        reserved = {f.spec.port.number for f in step.forwards if f.spec.port.reserved}
        for forward in step.forwards:
            port = bound.ports.get(forward.id)
            own = forward.spec.port.number if forward.spec.port.reserved else None
            assert port not in reserved or port == own
        settled = {f.spec.port.number for f in step.forwards if f.id in bound.ports and f.id in lived} & reserved
        assert reserved - settled <= set(bound.ports.values())
        lived = {forward.id for forward in step.forwards}


@settings(deadline=None)  # two shared cores: time says nothing here
@given(plans, plans)
def test_no_more_is_done_than_must_be(before: Plan, after: Plan) -> None:
    """Unchanged specs are stopped only where they sit on a port that is newly reserved; every id once in each part."""
    bound = Bound()
    bound.turn(before)
    running, ports = dict(bound.running), dict(bound.ports)
    changes = diff(running, after, ports)
    stops = [change.id for change in changes if isinstance(change, Stop)]
    touched = [change.forward.id for change in changes if not isinstance(change, Stop)]
    assert len(stops) == len(set(stops))
    assert len(touched) == len(set(touched))
    for forward in after.forwards:
        if forward.id in stops and running[forward.id].spec == forward.spec:
            evicted = ports.get(forward.id) in _newly_reserved(running, after)
            freed = forward.id not in ports and forward.spec.port.number in {ports.get(ident) for ident in stops}
            assert evicted or freed
        if running.get(forward.id) == forward and forward.id not in stops:
            assert forward.id not in touched


def _newly_reserved(running: Mapping[str, PlannedForward], after: Plan) -> set[int]:
    new = (f for f in after.forwards if f.id not in running or running[f.id].spec != f.spec)
    return {f.spec.port.number for f in new if f.spec.port.reserved}


@settings(deadline=None)  # two shared cores: time says nothing here
@given(plans, plans)
def test_equal_questions_get_equal_answers(before: Plan, after: Plan) -> None:
    """A pure function of what runs, the plan and the ports."""
    running = {forward.id: forward for forward in before.forwards}
    ports = {ident: 9000 + index for index, ident in enumerate(running)}
    backwards = dict(reversed(running.items()))
    assert set(diff(running, after, ports)) == set(diff(backwards, after, ports))
    assert diff(running, after, ports) == diff(dict(running), after, dict(ports))
