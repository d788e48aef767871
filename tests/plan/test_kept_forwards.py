"""The listener is the promise: a service that is there keeps its forward, whatever is not known of it for a while."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.plan.made import EVERYWHERE, RUN, Item, make_plan, service, world
from watcher.cluster.kinds import RUN_ID_LABEL, SERVICE, Object
from watcher.cluster.store import Problem, Snapshot, Watch
from watcher.plan.facts import Facts
from watcher.plan.required_watches import required_watches
from watcher.skaffold.modes import Mode

REFUSED, AWAY = Problem("403", forbidden=True), Problem("connection refused")
SERVICES = frozenset({Mode.SERVICES})
KNOWN = Watch(SERVICE, "known", label_selector=RUN_ID_LABEL)
FACTS = Facts(modes=SERVICES, run_id=RUN, context_namespace="known")
WEB = {("known", "web"): service("web", namespace="known")[1]}
FAR = {("far", "db"): service("db", namespace="far")[1]}


def forwarded(facts: Facts) -> set[str]:
    return {wanted.subject.resource_name for wanted in make_plan(facts).forwards}


@pytest.mark.parametrize(
    ("objects", "problems", "expected"),
    [
        ({EVERYWHERE: WEB | FAR}, {}, {"web", "db"}),
        ({EVERYWHERE: WEB | FAR}, {EVERYWHERE: AWAY}, {"web", "db"}),
        ({EVERYWHERE: WEB | FAR}, {EVERYWHERE: REFUSED}, {"web", "db"}),
        ({EVERYWHERE: WEB | FAR, KNOWN: {}}, {EVERYWHERE: REFUSED}, {"db"}),
        ({EVERYWHERE: WEB | FAR, KNOWN: {}}, {EVERYWHERE: AWAY}, {"db"}),
        ({EVERYWHERE: FAR, KNOWN: WEB}, {EVERYWHERE: REFUSED, KNOWN: AWAY}, {"web", "db"}),
        ({KNOWN: WEB}, {EVERYWHERE: REFUSED}, {"web"}),
        ({KNOWN: WEB}, {EVERYWHERE: AWAY, KNOWN: AWAY}, {"web"}),
        ({KNOWN: WEB, EVERYWHERE: {}}, {}, set()),
    ],
)
def test_what_is_known_of_services(
    objects: dict[Watch, dict[tuple[str, str], Object]], problems: dict[Watch, Problem], expected: set[str]
) -> None:
    """The newest list that covers a namespace counts; one that became old counts where there is no other."""
    facts = replace(FACTS, cluster=Snapshot(objects, problems))
    assert forwarded(facts) == expected


def test_an_api_server_that_is_away_says_nothing_about_rights() -> None:
    """Lists of single namespaces, once needed, stay while the refusal is covered by another error."""
    refused = replace(FACTS, cluster=Snapshot({KNOWN: WEB}, {EVERYWHERE: REFUSED}))
    away = replace(FACTS, cluster=Snapshot({KNOWN: WEB}, {EVERYWHERE: AWAY, KNOWN: AWAY}))
    assert required_watches(away) == required_watches(refused) >= {EVERYWHERE, KNOWN}


@pytest.mark.parametrize(
    ("deployed", "problems", "expected"),
    [
        (False, {}, {"old", "new"}),
        (True, {}, {"new"}),
        (True, {EVERYWHERE: AWAY}, {"old", "new"}),
        (False, {EVERYWHERE: AWAY}, {"old", "new"}),
    ],
)
def test_a_new_run_id(*, deployed: bool, problems: dict[Watch, Problem], expected: set[str]) -> None:
    """The old run's services go when the new one's deploy has succeeded and the list is not behind that."""
    there = [service("old"), service("new", run="run-2"), service("strange", run="run-of-another")]
    facts = replace(FACTS, run_id="run-2", former_run_ids=frozenset({RUN}), deployed=deployed)
    facts = world(facts, there)
    facts = replace(facts, cluster=Snapshot(facts.cluster.objects, problems))
    assert forwarded(facts) == expected


def test_a_relabelled_service_keeps_its_forward() -> None:
    """The same id, the same spec: for its listener nothing has happened."""
    before = make_plan(world(FACTS, [service()]))
    reloaded = replace(FACTS, run_id="run-2", former_run_ids=frozenset({RUN}), deployed=False)
    between = make_plan(world(reloaded, [service()]))
    after = make_plan(world(replace(reloaded, deployed=True), [service(run="run-2")]))
    assert [plan.forwards[0].spec for plan in (between, after)] == [before.forwards[0].spec] * 2


class Cluster:
    """Two services that never go, what the API server may be asked for, and what the watches have heard so far."""

    def __init__(self) -> None:
        self.facts = replace(FACTS, deployed=False)
        self.allowed, self.up = True, True
        self.objects: dict[Watch, dict[tuple[str, str], Object]] = {}
        self.problems: dict[Watch, Problem] = {}
        self.labelled = RUN

    @property
    def items(self) -> list[Item]:
        return [service("web", namespace="known", run=self.labelled), service("db", namespace="far", run=self.labelled)]

    def step(self, name: str) -> None:
        """One thing happens. `asked`: the watches are served, as far as the API server answers now."""
        match name:
            case "reload":
                number = len(self.facts.former_run_ids) + 2
                former = self.facts.former_run_ids | {self.facts.run_id}
                self.facts = replace(self.facts, run_id=f"run-{number}", former_run_ids=former, deployed=False)
            case "apply" if self.up:
                self.labelled = self.facts.run_id
            case "deployed":
                self.facts = replace(self.facts, deployed=self.labelled == self.facts.run_id)
            case "up" | "down":
                self.up = name == "up"
            case "allowed" | "refused":
                self.allowed = name == "allowed"
        self.serve()

    def serve(self) -> None:
        wanted = required_watches(replace(self.facts, cluster=Snapshot(self.objects, self.problems)))
        for known in (self.objects, self.problems):
            for gone in known.keys() - wanted:
                del known[gone]
        for watch in wanted:
            self.ask(watch)
        self.facts = replace(self.facts, cluster=Snapshot(dict(self.objects), dict(self.problems)))

    def ask(self, watch: Watch) -> None:
        if not self.up:
            self.problems[watch] = AWAY
        elif watch.namespace == "" and not self.allowed:
            self.problems[watch] = REFUSED
        else:
            self.problems.pop(watch, None)
            found = {(i.metadata.namespace, i.metadata.name): i for kind, i in self.items if kind is watch.kind}  # type: ignore[attr-defined] # every object has metadata; their base has not
            self.objects[watch] = {key: item for key, item in found.items() if watch.namespace in {"", key[0]}}


@settings(deadline=None)  # two shared cores: time says nothing here
@given(
    st.lists(st.sampled_from(["reload", "apply", "deployed", "up", "down", "allowed", "refused", "asked"]), max_size=25)
)
def test_no_forward_of_a_service_that_is_there_ever_goes(steps: list[str]) -> None:
    """Through reloads, deploys, an API server that comes and goes, and rights that do: once forwarded, always."""
    cluster = Cluster()
    seen: set[str] = set()
    for step in steps:
        cluster.step(step)
        now = {wanted.id for wanted in make_plan(cluster.facts).forwards}
        assert seen <= now, step
        seen = now
