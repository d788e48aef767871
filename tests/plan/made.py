"""Builders of Kubernetes objects and facts, and a world: facts with everything an API server would list for them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import Any, TypeVar, cast

from msgspec.structs import replace

from forwarders.spec import PortRequest
from watcher.cluster.kinds import (
    CRON_JOB,
    DAEMON_SET,
    DEPLOYMENT,
    JOB,
    POD,
    REPLICA_SET,
    REPLICA_SET_METADATA,
    REPLICATION_CONTROLLER,
    RUN_ID_LABEL,
    SERVICE,
    STATEFUL_SET,
    Condition,
    ContainerPort,
    ContainerState,
    ContainerStateWaiting,
    ContainerStatus,
    CronJob,
    CronJobSpec,
    JobTemplate,
    Kind,
    LabelSelector,
    Object,
    ObjectMeta,
    OwnerReference,
    Pod,
    PodContainer,
    PodSpec,
    PodStatus,
    PodTemplate,
    ReplicationController,
    ReplicationControllerSpec,
    Resource,
    Service,
    ServicePort,
    ServiceSpec,
    Workload,
    WorkloadSpec,
)
from watcher.cluster.store import Problem, Snapshot, Watch
from watcher.config.entries import Entry, port_request_for
from watcher.plan.facts import Facts
from watcher.plan.plan import Plan, plan_in_steps
from watcher.plan.required_watches import required_watches
from watcher.plan.verdicts import PlannedForward
from watcher.skaffold.modes import Mode
from watcher.skaffold.port_events import SkaffoldForward
from watcher.skaffold.state import NEVER

RUN = "run-1"
EVERYWHERE = Watch(SERVICE, "", label_selector=RUN_ID_LABEL)
Item = tuple[Kind, Object]
R = TypeVar("R", bound=Resource)
T = TypeVar("T")


def facts_of(**given: Any) -> Facts:
    """For hypothesis, which cannot know all types of Facts' fields: some are imported for type checkers only."""
    return Facts(**given)


def make_plan(facts: Facts) -> Plan:
    """The plan of all clusters."""
    return result_of(plan_in_steps(facts))


def result_of(steps: Generator[None, None, T]) -> T:
    """The result of the steps, without pauses."""
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            return cast("T", finished.value)


def held(
    kind: str, name: str, port: int | str, local_port: int, *, namespace: str = "", address: str = "127.0.0.1"
) -> SkaffoldForward:
    """A forward of Skaffold's own."""
    return SkaffoldForward(
        resource_type=kind,
        resource_name=name,
        namespace=namespace,
        target_port=port,
        container_name="",
        address=address,
        local_port=local_port,
        iteration=1,
        at=NEVER,
    )


def meta(
    name: str, namespace: str = "default", *, labels: Mapping[str, str] = {}, age: int = 0, uid: str = ""
) -> ObjectMeta:
    """`age`: minutes since some noon; the uid is the name unless given."""
    created = f"2026-11-23T{11 - age // 60:02}:{59 - age % 60:02}:00Z"
    return ObjectMeta(name=name, namespace=namespace, uid=uid or name, labels=dict(labels), creation_timestamp=created)


def pod(
    name: str,
    app: str = "web",
    namespace: str = "default",
    *,
    ready: bool = True,
    phase: str = "Running",
    age: int = 0,
    deleting: bool = False,
    ports: tuple[ContainerPort, ...] = (ContainerPort(8080, "http"),),
    waiting: str = "",
    sidecar: ContainerPort | None = None,
    owner: OwnerReference | None = None,
    revision: str = "",
) -> Item:
    """Made by what selects app=APP (see `workload`), unless an owner is given; `revision`: of a DaemonSet."""
    hashed = {"controller-revision-hash": revision} if revision else {}
    metadata = meta(name, namespace, labels={"app": app} | hashed, age=age)
    metadata = replace(
        metadata,
        owner_references=(
            owner or OwnerReference("DaemonSet" if revision else "ReplicaSet", app, app, controller=True),
        ),
    )
    if deleting:
        metadata = replace(metadata, deletion_timestamp="2026-11-23T12:00:00Z")
    init = (PodContainer(name="side", ports=(sidecar,), restart_policy="Always"),) if sidecar else None
    statuses = (ContainerStatus(state=ContainerState(waiting=ContainerStateWaiting(waiting))),) if waiting else None
    status = PodStatus(
        phase=phase, conditions=(Condition("Ready", "True" if ready else "False"),), container_statuses=statuses
    )
    return POD, Pod(metadata=metadata, spec=PodSpec((PodContainer(name="main", ports=ports),), init), status=status)


def pod_of_run(
    name: str,
    owner: str,
    namespace: str = "default",
    *,
    run: str = RUN,
    image: str = "app:1",
    ready: bool = True,
    deleting: bool = False,
    debug: str | None = None,
) -> Item:
    """A labelled pod that a Deployment's ReplicaSet made, with an http and a debug port."""
    kind, item = pod(f"{owner}-6c-{name}", owner, namespace, ready=ready, deleting=deleting)
    assert isinstance(item, Pod)
    metadata = replace(
        item.metadata,
        labels={RUN_ID_LABEL: run, "app": owner, "pod-template-hash": "6c"},
        annotations={} if debug is None else {"debug.cloud.google.com/config": debug},
        owner_references=(OwnerReference("ReplicaSet", f"{owner}-6c", "rs", controller=True),),
    )
    return kind, replace(item, metadata=metadata, spec=_spec(image))


def deployment_of_run(name: str, namespace: str = "default", *, run: str = RUN) -> Item:
    """A labelled Deployment of such pods."""
    metadata = meta(name, namespace, labels={RUN_ID_LABEL: run})
    template = PodTemplate(spec=_spec("app:1"))
    return DEPLOYMENT, Workload(metadata=metadata, spec=WorkloadSpec(LabelSelector({"app": name}), template))


def _spec(image: str) -> PodSpec:
    ports = (ContainerPort(8080, "http"), ContainerPort(5005, "jdwp"))
    return PodSpec((PodContainer(name="main", image=image, ports=ports),))


def service(
    name: str = "web",
    *ports: ServicePort,
    namespace: str = "default",
    run: str | None = RUN,
    selector: Mapping[str, str] | None = None,
    kind: str = "ClusterIP",
    cluster_ip: str = "10.0.0.7",
) -> Item:
    labels = {RUN_ID_LABEL: run} if run is not None else {}
    spec = ServiceSpec(
        cluster_ip=cluster_ip,
        ports=ports or (ServicePort(8080, "http"),),
        selector=dict(selector) if selector is not None else {"app": name},
        type=kind,
        external_name="elsewhere.example" if kind == "ExternalName" else None,
    )
    return SERVICE, Service(metadata=meta(name, namespace, labels=labels), spec=spec)


def workload(
    kind: Kind,
    name: str = "web",
    namespace: str = "default",
    *,
    owner: str = "",
    age: int = 0,
    selector: LabelSelector | None = None,
) -> Item:
    """Deployment, ReplicaSet, StatefulSet, DaemonSet or Job that selects app=NAME, and has made such a `pod`."""
    metadata = meta(name, namespace, age=age)
    if owner:
        metadata = replace(metadata, owner_references=(OwnerReference("CronJob", owner, owner, controller=True),))
    return kind, Workload(metadata=metadata, spec=WorkloadSpec(selector or LabelSelector({"app": name})))


def controller(kind: Kind, name: str = "web", namespace: str = "default") -> tuple[Item, ...]:
    """An object of this kind and whatever it takes for it to find the pods with app=NAME."""
    if kind is POD or kind is SERVICE:
        return (service(name, namespace=namespace, run=None),) if kind is SERVICE else ()
    if kind is REPLICATION_CONTROLLER:
        spec = ReplicationControllerSpec({"app": name})
        return ((kind, ReplicationController(metadata=meta(name, namespace), spec=spec)),)
    if kind is DEPLOYMENT:
        return workload(kind, name, namespace), replica_set(name, namespace)
    if kind is CRON_JOB:
        return (CRON_JOB, CronJob(metadata=meta(name, namespace, uid="cj"))), workload(JOB, name, namespace, owner="cj")
    return (workload(kind, name, namespace),)


CRON_JOB_OF_WEB = CronJob(
    metadata=meta("web", uid="cj"),
    spec=CronJobSpec(
        JobTemplate(
            WorkloadSpec(template=PodTemplate(spec=PodSpec((PodContainer(ports=(ContainerPort(8080, "http"),)),))))
        )
    ),
)
WORKLOADS = (DEPLOYMENT, REPLICA_SET, STATEFUL_SET, DAEMON_SET, JOB)


def entry(
    kind: str = "service",
    name: str = "web",
    port: int | str = 8080,
    *,
    local_port: PortRequest | None = None,
    namespace: str = "",
    source: str = "user",
    line: int = 1,
    addresses: tuple[str, ...] = (),
) -> Entry:
    return Entry(
        source=source,
        origin=f"skaffold.yaml line {line}",
        kind=kind,
        resource_type=kind,
        name=name,
        namespace=namespace,
        port=port,
        local_port=local_port or port_request_for(port),
        addresses=addresses,
    )


def world(facts: Facts, items: Iterable[Item], refused: Iterable[Watch] = ()) -> Facts:
    """`facts` with a cluster that has answered every watch they need, and those that the answers called for."""
    items, forbidden = with_replica_sets(items), set(refused)
    while True:
        watches = required_watches(facts)
        snapshot = Snapshot(
            objects={watch: _listed(watch, items) for watch in watches - forbidden},
            problems={watch: Problem(f"{watch.kind.plural}: 403", forbidden=True) for watch in watches & forbidden},
        )
        if snapshot == facts.cluster:
            return facts
        facts = replace(facts, cluster=snapshot)


def with_replica_sets(items: Iterable[Item]) -> list[Item]:
    """And for each Deployment that has none there its ReplicaSet; its pods are those of `pod`."""
    found = list(items)
    owned = {
        (metadata.namespace, owner.uid)
        for kind, item in found
        if kind is REPLICA_SET_METADATA
        for metadata in [meta_of((kind, item))]
        for owner in metadata.owner_references or ()
    }
    deployments = [meta_of((kind, item)) for kind, item in found if kind is DEPLOYMENT]
    found += [replica_set(one.name, one.namespace) for one in deployments if (one.namespace, one.uid) not in owned]
    return found


def replica_set(
    name: str = "web", namespace: str = "default", *, uid: str = "", revision: int = 0, owner: str = ""
) -> Item:
    """A ReplicaSet's metadata, owned by the Deployment `owner` (its `name`, unless given)."""
    metadata = replace(
        meta(f"{name}-{uid or name}", namespace, uid=uid or name),
        owner_references=(OwnerReference("Deployment", owner or name, owner or name, controller=True),),
        annotations={"deployment.kubernetes.io/revision": str(revision)} if revision else None,
    )
    return REPLICA_SET_METADATA, Resource(metadata=metadata)


def meta_of(item: Item) -> ObjectMeta:
    found = getattr(item[1], "metadata", None)
    assert isinstance(found, ObjectMeta)
    return found


def made_of(item: Item, of: type[R]) -> R:
    """The object itself."""
    assert isinstance(item[1], of)
    return item[1]


def _listed(watch: Watch, items: list[Item]) -> dict[tuple[str, str], Object]:
    found = {}
    for kind, item in items:
        metadata = meta_of((kind, item))
        if selects(watch, kind, item):
            found[metadata.namespace, metadata.name] = item
    return found


def selects(watch: Watch, kind: Kind, item: Object) -> bool:
    """As the API server selects: by kind, namespace, label and name."""
    metadata = meta_of((kind, item))
    label, _, value = watch.label_selector.partition("=")
    labelled = not label or (label in (metadata.labels or {}) and value in {"", (metadata.labels or {})[label]})
    named = watch.field_selector in {"", f"metadata.name={metadata.name}"}
    return kind is watch.kind and watch.namespace in {"", metadata.namespace} and labelled and named


USER, SERVICES, BOTH = frozenset({Mode.USER}), frozenset({Mode.SERVICES}), frozenset({Mode.USER, Mode.SERVICES})
WEB: list[Item] = [service(), pod("web-0")]


def planned(items: list[Item], **facts: object) -> Plan:
    return make_plan(world(Facts(**{"modes": BOTH, "run_id": RUN, **facts}), items))  # type: ignore[arg-type]  # by name


def only(plan: Plan) -> PlannedForward:
    [wanted] = plan.forwards
    return wanted


def ids(plan: Plan) -> list[str]:
    return [wanted.id for wanted in plan.forwards]
