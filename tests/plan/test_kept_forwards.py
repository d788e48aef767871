"""The listener is the promise: a service that is there keeps its forward, whatever is not known of it for a while."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.plan.made import EVERYWHERE, RUN, Item, make_plan, service, world
from watcher.cluster.kinds import RUN_ID_LABEL, SERVICE, Object
from watcher.cluster.store import OtherCluster, Problem, Snapshot, Watch
from watcher.config.targets import parse_targets
from watcher.plan.facts import Facts
from watcher.plan.required_watches import entry_watch, is_settled, required_watches
from watcher.plan.run import is_current
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
    ("deployed", "problems", "outdated", "expected"),
    [
        (False, {}, set(), {"old", "new"}),
        (True, {}, set(), {"new"}),
        (True, {EVERYWHERE: AWAY}, set(), {"old", "new"}),
        (False, {EVERYWHERE: AWAY}, set(), {"old", "new"}),
        (True, {}, {EVERYWHERE}, {"old", "new"}),
    ],
)
def test_a_new_run_id(
    *, deployed: bool, problems: dict[Watch, Problem], outdated: set[Watch], expected: set[str]
) -> None:
    """The old run's services go when the new one's deploy has succeeded and the list is not behind that."""
    there = [service("old"), service("new", run="run-2"), service("strange", run="run-of-another")]
    facts = replace(FACTS, run_id="run-2", former_run_ids=frozenset({RUN}), deployed=deployed)
    facts = world(facts, there)
    facts = replace(facts, cluster=Snapshot(facts.cluster.objects, problems, outdated))
    assert forwarded(facts) == expected


def test_a_list_from_before_the_deploy_proves_no_absence() -> None:
    """An entry whose object is not in it may have its object by now: it waits, and nothing is settled."""
    entries = parse_targets(("service/web", "8080"), namespace="known", addresses=("127.0.0.1",))
    facts = world(Facts(entries=entries, run_id=RUN), [])
    watches = required_watches(facts)
    assert is_settled(facts, watches)
    assert make_plan(facts).forwards[0].broken
    behind = replace(facts, cluster=Snapshot(facts.cluster.objects, {}, {entry_watch(entries[0], "known")}))
    assert not is_settled(behind, watches)
    assert make_plan(behind).forwards[0].waiting_for == "service web does not exist in namespace known yet"


@pytest.mark.parametrize(
    ("objects", "problems", "outdated", "expected"),
    [
        ({EVERYWHERE: WEB}, {}, set(), True),
        ({}, {}, set(), False),
        ({EVERYWHERE: WEB}, {}, {EVERYWHERE}, False),
        ({EVERYWHERE: WEB}, {EVERYWHERE: AWAY}, set(), False),
        ({KNOWN: WEB}, {EVERYWHERE: REFUSED}, set(), True),
        ({}, {EVERYWHERE: REFUSED}, set(), False),
        ({EVERYWHERE: FAR, KNOWN: WEB}, {EVERYWHERE: REFUSED}, set(), False),
    ],
)
def test_when_all_is_known_of_a_new_run(
    *,
    objects: dict[Watch, dict[tuple[str, str], Object]],
    problems: dict[Watch, Problem],
    outdated: set[Watch],
    expected: bool,
) -> None:
    """Every list is there and new, in each cluster; a list that was never allowed is no list."""
    facts = replace(FACTS, cluster=Snapshot(objects, problems, outdated))
    assert is_current(facts) is expected
    other = OtherCluster("other", Snapshot(objects, problems, outdated), namespace="known")
    here = Snapshot({EVERYWHERE: WEB})
    assert is_current(replace(FACTS, cluster=here, contexts=frozenset({"other"}), others=(other,))) is expected


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
        self.outdated: set[Watch] = set()  # not listed since the deploy
        self.late = False  # the watches' events are
        self.labelled = RUN

    @property
    def items(self) -> list[Item]:
        return [service("web", namespace="known", run=self.labelled), service("db", namespace="far", run=self.labelled)]

    def step(self, name: str) -> None:
        """One thing happens. `listed`: what is outdated is listed, as far as the API server answers now."""
        match name:
            case "reload":
                number = len(self.facts.former_run_ids) + 2
                former = self.facts.former_run_ids | {self.facts.run_id}
                self.facts = replace(self.facts, run_id=f"run-{number}", former_run_ids=former, deployed=False)
            case "apply" if self.up:
                self.labelled = self.facts.run_id
            case "deployed":
                deployed = self.labelled == self.facts.run_id
                if deployed and not self.facts.deployed:
                    self.outdated = {*self.objects}
                self.facts = replace(self.facts, deployed=deployed)
            case "late" | "in time":
                self.late = name == "late"
            case "up" | "down":
                self.up = name == "up"
            case "allowed" | "refused":
                self.allowed = name == "allowed"
            case "listed" if self.up:
                self.outdated.clear()
        self.serve()

    def serve(self) -> None:
        wanted = required_watches(replace(self.facts, cluster=Snapshot(self.objects, self.problems)))
        self.outdated &= wanted
        for known in (self.objects, self.problems):
            for gone in known.keys() - wanted:
                del known[gone]
        for watch in wanted:
            self.ask(watch)
        cluster = Snapshot(dict(self.objects), dict(self.problems), frozenset(self.outdated))
        self.facts = replace(self.facts, cluster=cluster)
        if self.facts.deployed and is_current(self.facts):  # as SkaffoldSource
            self.facts = replace(self.facts, former_run_ids=frozenset())

    def ask(self, watch: Watch) -> None:
        if not self.up:
            self.problems[watch] = AWAY
        elif watch.namespace == "" and not self.allowed:
            self.problems[watch] = REFUSED
        else:
            self.problems.pop(watch, None)
            if self.late and watch in self.objects and (watch in self.outdated or not self.facts.deployed):
                return
            found = {(i.metadata.namespace, i.metadata.name): i for kind, i in self.items if kind is watch.kind}  # type: ignore[attr-defined] # every object has metadata; their base has not
            self.objects[watch] = {key: item for key, item in found.items() if watch.namespace in {"", key[0]}}


@settings(deadline=None)  # two shared cores: time says nothing here
@given(
    st.lists(
        st.sampled_from(
            ["reload", "apply", "deployed", "up", "down", "allowed", "refused", "late", "in time", "listed"]
        ),
        max_size=25,
    )
)
@example(["apply", "deployed", "listed", "reload", "late", "apply", "deployed", "listed"])
def test_no_forward_of_a_service_that_is_there_ever_goes(steps: list[str]) -> None:
    """Through reloads, deploys, an API server that comes and goes, and rights that do: once forwarded, always."""
    cluster = Cluster()
    seen: set[str] = set()
    for step in steps:
        cluster.step(step)
        now = {wanted.id for wanted in make_plan(cluster.facts).forwards}
        assert seen <= now, step
        seen = now
