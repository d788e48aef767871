"""Owns what is known of a Skaffold process: a pure fold of its events into SkaffoldFacts.

Refuses actions and clocks. Every connection replays the process's whole log, and live events may arrive among older
ones (event/v2/event.go copies the log, then replays it without the lock), so Skaffold's own timestamps decide: an event
older than what a fact rests on does not change that fact.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from watcher.skaffold.events import (
    FAILED,
    IN_PROGRESS,
    SUCCEEDED,
    Event,
    Metadata,
    MetaEvent,
    PortEvent,
    StatusCheckEvent,
    TaskEvent,
)
from watcher.skaffold.own_forwards import Holdings, OwnForward, OwnForwardKey, own_forward

NEVER = datetime.min.replace(tzinfo=UTC)

# What people read while a task is in progress.
PHASES = {
    "DevLoop": "updating",
    "Build": "building",
    "Test": "testing",
    "Render": "rendering",
    "Deploy": "deploying",
    "StatusCheck": "checking",
    "PortForward": "forwarding",
    "Verify": "verifying",
    "Exec": "executing",
}
# `run` and `deploy` have no DevLoop task: there the end of Deploy or PortForward is the last word.
_RESTING = {"DevLoop", "Deploy", "PortForward"}
# Anybody can post events: what a real run has is far below, and what is beyond is passed over.
MOST_NAMESPACES, MOST_ARTIFACTS = 100, 1000
# Former run ids that are kept while no deploy succeeds. Each edit of skaffold.yaml starts a run.
MOST_FORMER_RUNS = 32

SkaffoldChange = Literal["attached", "lost", "phase", "run"]


class SkaffoldFacts(Struct, frozen=True, kw_only=True):
    """Everything that the rest of portside may know of the Skaffold beside it.

    `attached`: its stream is being read. `problem`: why not, "" where nothing is wrong. `connections`: how many streams
    were opened so far; with `deploys` it tells when Skaffold has forgotten posted forwards.
    `run_id`: the label of this run's objects, "" while unknown. `phase`: "" while unknown, "idle", or one of PHASES.
    `iteration`: of the last task. `failed`: something failed since the last loop began.
    `deployed`: a deploy of this run id has succeeded. `deploys`: how many have ended, well or not.
    `own_forwards`: those that Skaffold itself holds. `namespaces`: those named in status checks.
    `artifacts`: image names this run builds, as written in skaffold.yaml.
    `former_run_ids`: earlier runs whose objects still count, because no deploy has succeeded since.
    """

    attached: bool = False
    problem: str = ""
    connections: int = 0
    run_id: str = ""
    phase: str = ""
    iteration: int = 0
    failed: bool = False
    deployed: bool = False
    deploys: int = 0
    own_forwards: dict[OwnForwardKey, OwnForward] = {}
    namespaces: frozenset[str] = frozenset()
    artifacts: tuple[str, ...] = ()
    former_run_ids: frozenset[str] = frozenset()


class SkaffoldState(Struct, frozen=True, kw_only=True):
    """The facts and the times (Skaffold's) that they rest on."""

    facts: SkaffoldFacts = SkaffoldFacts()
    own: Holdings = Holdings()
    latest: datetime = NEVER
    meta_at: datetime = NEVER
    run_since: datetime = NEVER
    task_at: datetime = NEVER
    deployed_at: datetime = NEVER
    deployed_iteration: int = -1
    forwarded_iteration: int = -1


def apply(state: SkaffoldState, event: Event) -> SkaffoldState:
    """The state after one event. Pure; an event without a time is taken for one that happens now."""
    at = event.at or state.latest
    if at > state.latest:
        state = replace(state, latest=at)
    match event.body:
        case MetaEvent(metadata=Metadata() as metadata):
            return _meta(state, metadata, at)
        case TaskEvent() as task:
            return _own(_deploy(_phase(state, task, at), task, at), task, at)
        case PortEvent() as port:
            new = own_forward(port, at)
            return state if new is None else _holding(state, state.own.having(new))
        case StatusCheckEvent(namespace=namespace) if namespace and len(state.facts.namespaces) < MOST_NAMESPACES:
            return _with(state, namespaces=state.facts.namespaces | {namespace})
        case _:
            return state


def carried_over(before: SkaffoldFacts, now: SkaffoldFacts) -> SkaffoldFacts:
    """Adds to `now` the run ids and namespaces of `before` that still count. Pure.

    `now` comes from the events of one Skaffold process; `before` is what this function returned for the facts before.
    A Skaffold that starts again, or reloads skaffold.yaml, gets a new run id. The objects of the old runs still serve
    until a deploy of the new run succeeds; that deploy also checks every namespace that counts from then on.
    """
    former, namespaces = before.former_run_ids, before.namespaces
    if now.run_id != before.run_id:
        if before.deployed or len(former) >= MOST_FORMER_RUNS:
            former = frozenset()
        former |= {before.run_id} - {""}
    if now.deployed and not before.deployed and now.namespaces:
        namespaces = frozenset()
    return replace(now, former_run_ids=former, namespaces=namespaces | now.namespaces)


def change_kinds(before: SkaffoldFacts, now: SkaffoldFacts) -> list[SkaffoldChange]:
    """The changes between two facts that people and programs are told of."""
    kinds: list[SkaffoldChange] = []
    if now.attached != before.attached:
        kinds.append("attached" if now.attached else "lost")
    if now.run_id != before.run_id:
        kinds.append("run")
    if (now.phase, now.iteration, now.failed) != (before.phase, before.iteration, before.failed):
        kinds.append("phase")
    return kinds


def _meta(state: SkaffoldState, metadata: Metadata, at: datetime) -> SkaffoldState:
    """A new run id begins a new run; a meta event without one, or without artifacts, clears nothing."""
    build, run_id = metadata.build, metadata.run_id
    if run_id and run_id == state.facts.run_id:
        state = replace(state, run_since=min(at, state.run_since))
    elif run_id and at >= state.meta_at:
        state = _with(replace(state, run_since=at), run_id=run_id)
    if build is not None and build.artifacts is not None and at >= state.meta_at:
        names = dict.fromkeys(artifact.name for artifact in build.artifacts[:MOST_ARTIFACTS] if artifact.name)
        state = _with(state, artifacts=tuple(names))
    return _settle(replace(state, meta_at=max(at, state.meta_at)))


def _phase(state: SkaffoldState, task: TaskEvent, at: datetime) -> SkaffoldState:
    if at < state.task_at:
        return state
    facts = state.facts
    if task.status == IN_PROGRESS:
        phase, failed = PHASES.get(task.task, facts.phase), facts.failed and task.task != "DevLoop"
    else:
        phase, failed = "idle" if task.task in _RESTING else facts.phase, facts.failed or task.status == FAILED
    return _with(replace(state, task_at=at), phase=phase, iteration=task.iteration, failed=failed)


def _deploy(state: SkaffoldState, task: TaskEvent, at: datetime) -> SkaffoldState:
    if task.task != "Deploy" or task.status not in {SUCCEEDED, FAILED}:
        return state
    if task.status == SUCCEEDED and at >= state.deployed_at:
        state = _settle(replace(state, deployed_at=at, deployed_iteration=task.iteration))
    return _with(state, deploys=state.facts.deploys + 1)


def _own(state: SkaffoldState, task: TaskEvent, at: datetime) -> SkaffoldState:
    """Drops the forwards that Skaffold has not announced again, as late as it takes to be sure.

    Skaffold takes its forwards down and up again in every deploy, and in between nobody else may take their ports. At
    the loop's end all are back (with several configs PortForward ends several times), but pods' follow a second later,
    and the Docker deployer has no PortForward task: for those the next deploy's beginning is soon enough.
    """
    own, iteration = state.own, task.iteration
    match task.task, task.status:
        case "PortForward", "Succeeded":
            return replace(state, forwarded_iteration=iteration)
        case "DevLoop", "Succeeded" if iteration == state.forwarded_iteration:
            return _holding(state, own.renewed(iteration, but_pods=True))
        case "Deploy", "InProgress" if at >= state.deployed_at:
            return _holding(state, own.renewed(state.deployed_iteration))
    return state


def _holding(state: SkaffoldState, own: Holdings) -> SkaffoldState:
    return state if own is state.own else _with(replace(state, own=own), own_forwards=own.forwards)


def _settle(state: SkaffoldState) -> SkaffoldState:
    """`deployed` follows from the times alone: a deploy has succeeded, and not before this run id was in force."""
    return _with(state, deployed=state.deployed_at != NEVER and state.deployed_at >= state.run_since)


def _with(state: SkaffoldState, **changes: object) -> SkaffoldState:
    return replace(state, facts=replace(state.facts, **changes))
