"""Services that cannot be listed: the one thing that only a skip can say."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.plan.made import EVERYWHERE, RUN, make_plan
from watcher.cluster.kinds import RUN_ID_LABEL, SERVICE
from watcher.cluster.store import Problem, Snapshot, Watch
from watcher.plan.facts import Facts
from watcher.skaffold.modes import Mode

AWAY, REFUSED = Problem("connection refused"), Problem("403", forbidden=True)
HERE = Watch(SERVICE, "here", label_selector=RUN_ID_LABEL)
FACTS = Facts(modes=frozenset({Mode.SERVICES}), run_id=RUN, namespace="here")


@pytest.mark.parametrize(
    ("snapshot", "said"),
    [
        (Snapshot(), []),
        (Snapshot({}, {EVERYWHERE: AWAY}), [("", "connection refused")]),
        (Snapshot({EVERYWHERE: {}}, {EVERYWHERE: AWAY}), []),
        (Snapshot({}, {EVERYWHERE: REFUSED}), []),
        (Snapshot({HERE: {}}, {EVERYWHERE: REFUSED}), []),
        (Snapshot({}, {EVERYWHERE: REFUSED, HERE: REFUSED}), [("here", "403")]),
    ],
)
def test_what_keeps_services_from_being_found(snapshot: Snapshot, said: list[tuple[str, str]]) -> None:
    """An API server that is away, or rights that are missing; a refusal to list everywhere alone is no trouble yet."""
    plan = make_plan(replace(FACTS, cluster=snapshot))
    assert [(skip.subject.namespace, skip.reason) for skip in plan.skips] == said
