"""The plan as answers: one verdict and one rule for each thing seen."""

from __future__ import annotations

from msgspec.structs import replace

from tests.plan.made import BOTH, RUN, WEB, deployment_of_run, entry, pod, pod_of_run, service, world
from watcher.cluster.objects import RUN_ID_LABEL, Pod
from watcher.plan.explain import Explanation, explain
from watcher.plan.facts import Facts
from watcher.plan.plan import make_plan
from watcher.skaffold.modes import Mode

PODS = frozenset({Mode.PODS})


def explained(facts: Facts) -> list[Explanation]:
    return list(explain(make_plan(facts), facts))


def test_what_is_forwarded_names_its_forwards_at_every_address() -> None:
    """A thing asked for at two addresses is one thing with two forwards."""
    facts = world(Facts(modes=BOTH, run_id=RUN, addresses=("127.0.0.1", "10.0.0.1")), WEB)
    [answer] = explained(facts)
    assert answer.forwarded
    assert answer.rule == "mode services: it is a service of this run"
    assert answer.forwards == tuple(f"services/default/service/web/8080/{a}" for a in ("127.0.0.1", "10.0.0.1"))


def test_what_is_not_forwarded_says_why() -> None:
    """A skip and what nobody asked for have no forwards, and the reason is the rule."""
    facts = world(Facts(modes=BOTH, run_id=RUN, entries=(entry(), entry(line=2))), WEB)
    answers = [(answer.forwarded, answer.rule) for answer in explained(facts)]
    assert answers == [
        (True, "it is asked for by skaffold.yaml line 1"),
        (False, "skaffold.yaml line 2 asks for what skaffold.yaml line 1 asks for already"),
        (False, "skaffold.yaml line 1 asks for this port already"),
    ]


def test_a_pod_goes_with_what_made_it() -> None:
    """Its forwards are its owner's; a pod that nothing made has its own verdicts, and no second ones."""
    kind, lonely = pod("lonely")
    assert isinstance(lonely, Pod)
    alone = kind, replace(lonely, metadata=replace(lonely.metadata, labels={RUN_ID_LABEL: RUN}))
    facts = world(Facts(modes=PODS, run_id=RUN), [deployment_of_run("web"), pod_of_run("x", "web"), alone])
    answers = explained(facts)
    own = [answer for answer in answers if answer.subject.resource_type == "deployment"]
    [its_pod] = [answer for answer in answers if answer.subject.resource_name == "web-6c-x"]
    assert its_pod.rule == "it goes with deployment web"
    assert sorted(its_pod.forwards) == sorted(ident for answer in own for ident in answer.forwards)
    assert [answer.rule for answer in answers if answer.subject.resource_name == "lonely"] == [
        "mode pods: its pod is of this run"
    ]


def test_pods_are_seen_in_the_modes_for_pods_only() -> None:
    """In mode services nobody looked at pods for their own sake."""
    facts = world(Facts(modes=frozenset({Mode.SERVICES}), run_id=RUN), [service("web"), pod_of_run("x", "web")])
    assert {answer.subject.resource_type for answer in explained(facts)} == {"service"}
