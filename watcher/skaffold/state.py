"""Folds Skaffold's events into SkaffoldFacts. Pure: no IO, no clock.

Every connection replays the whole log of the process, and live events may come among older ones (event/v2/event.go
copies the log and replays the copy without the lock). So Skaffold's own timestamps decide: an event that is older than
the event a fact is based on does not change that fact.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import replace

from watcher.skaffold import SkaffoldChange
from watcher.skaffold.events import (
    FAILED,
    IN_PROGRESS,
    SUCCEEDED,
    ActionableError,
    Metadata,
    MetaEvent,
    PortEvent,
    SkaffoldEvent,
    StatusCheckEvent,
    TaskEvent,
    iteration_of,
)
from watcher.skaffold.port_events import Occasion, SkaffoldForwards, own_forward, renewed, with_forward

NEVER = datetime.min.replace(tzinfo=UTC)

# Shown to people while the task is in progress.
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
# `run` and `deploy` have no DevLoop task: they are idle after Deploy or PortForward.
_RESTING = {"DevLoop", "Deploy", "PortForward"}
# Any user can post events. A real run stays far below these limits; what is beyond them is ignored.
MOST_NAMESPACES, MOST_ARTIFACTS = 100, 1000
# Characters of an error message: a compiler prints pages, and the terminal of Skaffold shows them.
MOST_ERROR = 500
# Former run ids that are kept while no deploy succeeds. Each edit of skaffold.yaml starts a run.
MOST_FORMER_RUNS = 32


class SkaffoldFacts(Struct, frozen=True, kw_only=True):
    """Everything that the rest of portside knows about the Skaffold that it follows.

    `attached`: its stream is being read. `problem`: why not, "" if nothing is wrong. `connections`: number of streams
    opened so far; together with `deploys` it tells when Skaffold has forgotten posted forwards.
    `run_id`: the label of this run's objects, "" while unknown. `phase`: "" while unknown, "idle", or one of PHASES.
    `iteration`: of the last task; `iteration_began`: its first task, by Skaffold's clock.
    `failed`: something failed since the last dev loop began.
    `error`: Skaffold's message about the first thing that failed since then, on one line.
    `deployed`: a deploy of this run id has succeeded. `deploys`: how many have ended, successfully or not.
    `own_forwards`: Skaffold's own. `namespaces`: those named in status checks.
    `artifacts`: image names this run builds, as written in skaffold.yaml.
    `former_run_ids`: earlier runs whose objects still count, because no deploy has succeeded since.
    """

    attached: bool = False
    problem: str = ""
    connections: int = 0
    run_id: str = ""
    phase: str = ""
    iteration: int = 0
    iteration_began: datetime = NEVER
    failed: bool = False
    error: str = ""
    deployed: bool = False
    deploys: int = 0
    own_forwards: SkaffoldForwards = {}
    namespaces: frozenset[str] = frozenset()
    artifacts: tuple[str, ...] = ()
    former_run_ids: frozenset[str] = frozenset()

    @property
    def occasion(self) -> Occasion | None:
        return (self.connections, self.deploys) if self.attached else None


class Failure(Struct, frozen=True):
    """An error of Skaffold's, on one line."""

    iteration: int = -1
    at: datetime = NEVER
    message: str = ""


class SkaffoldState(Struct, frozen=True, kw_only=True):
    """The facts and the times (Skaffold's) that they are based on."""

    facts: SkaffoldFacts = SkaffoldFacts()
    failure: Failure = Failure()
    latest: datetime = NEVER
    meta_at: datetime = NEVER
    run_since: datetime = NEVER
    task_at: datetime = NEVER
    deployed_at: datetime = NEVER
    deployed_iteration: int = -1
    forwarded_iteration: int = -1


def apply(state: SkaffoldState, event: SkaffoldEvent) -> SkaffoldState:
    """Returns the state after one event. An event without a time counts as the newest."""
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
            return state if new is None else _with(state, own_forwards=with_forward(state.facts.own_forwards, new))
        case StatusCheckEvent() as check:
            return _status_check(state, check, at)
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
    if first_deployed(before, now) and now.namespaces:
        namespaces = frozenset()
    return replace(now, former_run_ids=former, namespaces=namespaces | now.namespaces)


def first_deployed(before: SkaffoldFacts, now: SkaffoldFacts) -> bool:
    """Whether a run's first successful deploy has ended in between."""
    return now.deployed and (not before.deployed or now.run_id != before.run_id)


def deployed_again(before: SkaffoldFacts, now: SkaffoldFacts) -> bool:
    """Whether a deploy has ended in between, so that lists from before it are out of date."""
    return now.deployed and (now.run_id, now.deploys) != (before.run_id, before.deploys)


def change_kinds(before: SkaffoldFacts, now: SkaffoldFacts) -> list[SkaffoldChange]:
    """The changes between two facts that are worth a record."""
    kinds: list[SkaffoldChange] = []
    if now.attached != before.attached:
        kinds.append("attached" if now.attached else "lost")
    if now.run_id != before.run_id:
        kinds.append("run")
    if (now.phase, now.iteration, now.failed) != (before.phase, before.iteration, before.failed):
        kinds.append("phase")
    return kinds


def _meta(state: SkaffoldState, metadata: Metadata, at: datetime) -> SkaffoldState:
    """The state after a meta event: a new run id starts a new run; one without run id or artifacts clears nothing."""
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
    state = _failure(state, task.iteration, at, task.status, task.actionable_err)
    facts = state.facts
    if at < state.task_at:
        is_of_loop = task.iteration == facts.iteration
        return _with_loop(state, min(at, facts.iteration_began)) if is_of_loop else state
    if task.status == IN_PROGRESS:
        phase, failed = PHASES.get(task.task, facts.phase), facts.failed and task.task != "DevLoop"
    else:
        phase, failed = "idle" if task.task in _RESTING else facts.phase, facts.failed or task.status == FAILED
    is_first = task.iteration != facts.iteration or facts.iteration_began == NEVER
    state = _with(replace(state, task_at=at), phase=phase, iteration=task.iteration, failed=failed)
    return _with_loop(state, at if is_first else facts.iteration_began)


def _with_loop(state: SkaffoldState, began: datetime) -> SkaffoldState:
    """The facts with the time at which this iteration began, and its first error."""
    error = state.failure.message if state.failure.iteration == state.facts.iteration else ""
    return _with(state, iteration_began=began, error=error)


def _status_check(state: SkaffoldState, check: StatusCheckEvent, at: datetime) -> SkaffoldState:
    """The namespaces of the run's resources, and which of them failed: the task's own message only counts them."""
    if check.namespace and len(state.facts.namespaces) < MOST_NAMESPACES:
        state = _with(state, namespaces=state.facts.namespaces | {check.namespace})
    iteration = iteration_of(check.task_id, "Deploy")
    if iteration is None:
        return state
    state = _failure(state, iteration, at, check.status, check.actionable_err, f"{check.resource}: ")
    return _with_loop(state, state.facts.iteration_began)


def _failure(
    state: SkaffoldState, iteration: int, at: datetime, status: str, error: ActionableError | None, where: str = ""
) -> SkaffoldState:
    """Keeps the first error of the newest iteration: later ones repeat it for the tasks around the one that failed."""
    known = state.failure
    is_first = iteration > known.iteration or (iteration == known.iteration and at < known.at)
    if status != FAILED or error is None or not error.message.strip() or not is_first:
        return state
    message = where + " ".join(error.message[: 4 * MOST_ERROR].split())
    if len(message) > MOST_ERROR:
        message = f"{message[: MOST_ERROR - 1]}…"
    return replace(state, failure=Failure(iteration, at, message))


def _deploy(state: SkaffoldState, task: TaskEvent, at: datetime) -> SkaffoldState:
    if task.task != "Deploy" or task.status not in {SUCCEEDED, FAILED}:
        return state
    if task.status == SUCCEEDED and at >= state.deployed_at:
        state = _settle(replace(state, deployed_at=at, deployed_iteration=task.iteration))
    return _with(state, deploys=state.facts.deploys + 1)


def _own(state: SkaffoldState, task: TaskEvent, at: datetime) -> SkaffoldState:
    """Drops the forwards that Skaffold has not reported again, as late as necessary to be sure.

    Skaffold takes its forwards down and up again in every deploy, and no one else may take their ports in between. At
    the end of the dev loop all are back (with several configs PortForward ends several times), except that pods follow
    a second later and the Docker deployer has no PortForward task. Those are dropped when the next deploy begins.
    """
    own, iteration = state.facts.own_forwards, task.iteration
    match task.task, task.status:
        case "PortForward", "Succeeded":
            return replace(state, forwarded_iteration=iteration)
        case "DevLoop", "Succeeded" if iteration == state.forwarded_iteration:
            return _with(state, own_forwards=renewed(own, iteration, but_pods=True))
        case "Deploy", "InProgress" if at >= state.deployed_at:
            return _with(state, own_forwards=renewed(own, state.deployed_iteration))
    return state


def _settle(state: SkaffoldState) -> SkaffoldState:
    """The state with `deployed` derived from the times: whether a deploy has succeeded since this run id was set."""
    return _with(state, deployed=state.deployed_at != NEVER and state.deployed_at >= state.run_since)


def _with(state: SkaffoldState, **changes: object) -> SkaffoldState:
    return replace(state, facts=replace(state.facts, **changes))
