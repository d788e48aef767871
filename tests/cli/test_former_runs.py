"""Which former run ids the plan still gets: those of objects that a deploy may still relabel."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from msgspec.structs import replace

from tests.plan.made import EVERYWHERE, service
from watcher.cli.skaffold_source import SkaffoldSource
from watcher.cluster.store import Snapshot
from watcher.plan.facts import Facts
from watcher.skaffold.modes import Mode
from watcher.skaffold.state import SkaffoldFacts


async def test_former_runs_end_with_complete_lists_after_a_deploy() -> None:
    """Not while the run id is unknown (a Skaffold that starts again), and for the next run the last one counts."""
    listed = {EVERYWHERE: {("default", "web"): service()[1]}}
    facts = Facts(modes=frozenset({Mode.SERVICES}), cluster=Snapshot(listed))
    runtime: Any = SimpleNamespace(command="watch", board=None, touch=lambda: None, with_clusters=lambda facts: facts)
    configured: Any = SimpleNamespace(facts=facts)
    source = SkaffoldSource(runtime, cast("Any", None), configured, "http://127.0.0.1:1", publish=False)

    def former(run_id: str, *before: str, deployed: bool = False) -> frozenset[str]:
        source._attachment.facts = SkaffoldFacts(
            attached=True, run_id=run_id, former_run_ids=frozenset(before), deployed=deployed
        )
        return source._gather().former_run_ids

    assert former("", "a") == {"a"}
    assert former("", "a", deployed=True) == {"a"}
    assert former("b", "a") == {"a"}
    configured.facts = replace(facts, cluster=Snapshot(listed, {}, {EVERYWHERE}))
    assert former("b", "a", deployed=True) == {"a"}
    configured.facts = facts
    assert former("b", "a", deployed=True) == frozenset()
    configured.facts = replace(facts, cluster=Snapshot(listed, {}, {EVERYWHERE}))
    assert former("b", "a", deployed=True) == frozenset()
    assert former("", "a", "b") == {"a", "b"}
    assert former("c", "b") == {"b"}
