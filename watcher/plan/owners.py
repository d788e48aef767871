"""Groups the run's pods by what outlives them: the forwards of modes pods and debug are named after that. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from watcher.cluster import kinds
from watcher.cluster.kinds import Kind, Pod, PodSpec, ReplicationController, Resource, Workload
from watcher.plan import run
from watcher.plan.controllers import Owner, owner_of
from watcher.plan.facts import Facts
from watcher.plan.ranking import ranking


class Source(Struct, frozen=True):
    """Something that says which containers there are: a template, or a pod."""

    annotations: Mapping[str, str] | None
    spec: PodSpec


class Owned(Struct, frozen=True):
    """An owner's pods, the best first, and all that tells of their ports: the template, then the pods.

    `finished`: it runs no more, and nothing will make it run again.
    """

    owner: Owner
    labels: Mapping[str, str]
    pods: tuple[Pod, ...]
    sources: tuple[Source, ...]
    finished: bool = False


def owned(facts: Facts) -> list[Owned]:
    """Everything of the run that has or makes pods, by namespace, kind and name.

    A workload is there without pods too: a forward outlives the moments (a Recreate, a scale to 0) without any.
    """
    made: dict[Owner, list[Pod]] = {}
    for pod in run.pods(facts):
        made.setdefault(owner_of(pod), []).append(pod)
    templates = dict(_templates(facts))
    return [
        _owned(owner, templates.get(owner), made.get(owner, ())) for owner in sorted(made.keys() | templates.keys())
    ]


def _templates(facts: Facts) -> Iterable[tuple[Owner, Resource]]:
    """Workloads that nothing else made: a Deployment's ReplicaSets are the Deployment's business."""
    for kind in run.WORKLOADS:
        for item in run.objects(kind, facts):
            if item.metadata.controller is None:
                yield _owner(kind, item), item


def _owner(kind: Kind, item: Resource) -> Owner:
    return Owner(item.metadata.namespace, kind.singular, item.metadata.name)


def _owned(owner: Owner, template: Resource | None, pods: Iterable[Pod]) -> Owned:
    ranked = tuple(ranking(pods))
    sources = [Source(pod.metadata.annotations, pod.spec) for pod in ranked]
    if isinstance(template, Workload | ReplicationController):
        made_of = template.spec.template
        sources.insert(0, Source(made_of.metadata.annotations, made_of.spec))
    labelled: Resource | None = template or next(iter(ranked), None)
    labels = labelled.metadata.labels or {} if labelled is not None else {}
    over = all(pod.status.phase in {"Succeeded", "Failed"} for pod in ranked)
    once = owner.kind in {kinds.JOB.singular, kinds.POD.singular}
    finished = template.finished if isinstance(template, Workload) else bool(ranked) and once
    return Owned(owner, labels, ranked, tuple(sources), finished and over)
