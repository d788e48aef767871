"""Edits of the user while portside runs beside a real Skaffold, and what Skaffold is told of the forwards."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from tests.skaffold_e2e.developing import all_ready, developing, idle, text_at, watching
from tests.support.probe import get, probing
from tests.support.process import PORTSIDE, Portside, Record
from tests.support.skaffold import Project
from tests.support.sockets import free_port

pytestmark = pytest.mark.skaffold

SETTINGS = """apiVersion: portside/v1
exclude:
- kind: service
  name: api
forwards:
- resourceType: pod
  selector: {app: hello}
  port: 8080
"""


def places(records: list[Record]) -> dict[str, tuple[str, int]]:
    """The bound forwards by id: the resource's name and the local port."""
    last = {record["id"]: record for record in records if record["kind"] == "forward"}
    return {key: (r["resourceName"], r["localPort"]) for key, r in last.items() if r["state"] != "stopped"}


def changed(running: Portside, since: int) -> set[str]:
    """The names of the forwards that started, ended or moved since that many records."""
    before, after = places(running.records[:since]), places(running.records)
    return {name for _, (name, _) in before.items() ^ after.items()}


async def test_edits_touch_just_the_forwards_concerned(project: Project) -> None:
    """portside.yaml appears, is broken, is fixed; skaffold.yaml gets another port, which starts a new run.

    The service's forward is probed all the time: no connection fails.
    """
    async with developing(project) as running:
        before = await all_ready(running)
        await watching(running)
        async with probing(before["web"]["localPort"]) as probe:
            file, since = project.folder / "portside.yaml", len(running.records)
            file.write_text(SETTINGS)
            extra = await running.ready("app=hello", 30)
            assert (await text_at(extra)).startswith(f"hello from {project.namespace}, version 1")
            await running.wait_for(lambda records: any(r["kind"] == "skip" for r in records))
            [skip] = [record for record in running.records if record["kind"] == "skip"]
            assert (skip["resourceName"], skip["reason"]) == ("api", "portside.yaml line 3 excludes it")
            assert changed(running, since) == {"api", "app=hello"}

            file.write_text(SETTINGS.replace("exclude", "excldue"))
            await running.says('portside.yaml line 2: object contains unknown field `excldue`; did you mean "exclude"?')
            since = len(running.records)
            file.write_text(SETTINGS.replace("8080", "http"))
            await running.ready("app=hello", 30, remotePort="http")
            assert changed(running, since) == {"app=hello"}

            since, wanted = len(running.records), free_port()
            project.edit("skaffold.yaml", "localPort: 9001", f"localPort: {wanted}")
            record = await running.ready("app", 60, requestedPort=wanted)
            assert record["localPort"] == wanted
            await idle(running, 2)
            assert changed(running, since) == {"app"}
            assert len({r["runId"] for r in running.records if r["kind"] == "skaffold"} - {""}) == 2
            await probe.good(25)
        assert not probe.failures, probe.counts


async def forwarded_ports(port: int) -> dict[str, Any]:
    """The forwards that Skaffold's own state has, by local port."""
    status, _, body = await get(port, "/v2/state")
    assert status == 200
    found: dict[str, Any] = json.loads(body)["forwardedPorts"]
    return found


async def test_skaffold_is_told_after_each_deploy(project: Project) -> None:
    """An IDE that reads Skaffold's state finds our forwards; our own events do not become forwards of Skaffold's."""
    api = free_port()
    async with developing(project, rpc_http_port=api) as running:
        ports = {str(record["localPort"]): name for name, record in (await all_ready(running)).items()}
        await watching(running)
        for loop in (1, 2):
            await idle(running, loop)
            with trio.fail_after(60):
                while {key: told["resourceName"] for key, told in (await forwarded_ports(api)).items()} != ports:  # noqa: ASYNC110 - Skaffold's state has no events
                    await trio.sleep(0.1)
            assert not any(record.get("source") == "skaffold" for record in running.records)
            project.save(f"{project.namespace}, version {loop + 1}")


async def explain(project: Project, *words: str, code: int = 0) -> list[str]:
    """The lines of `portside explain` in the project's folder."""
    done = await trio.run_process(
        [PORTSIDE, "explain", *words],
        env=project.environment,
        cwd=project.folder,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout.decode().splitlines()


async def test_explain_says_what_decided(project: Project) -> None:
    """One verdict for each object, as text and as JSON; an unknown name is reported as such."""
    async with developing(project) as running:
        await all_ready(running)

        place = f"in namespace {project.namespace}"
        told = await explain(project)
        assert told[:3] == [
            f"yes deployment/app port http {place}: it is asked for by skaffold.yaml line 24",
            f"yes service/api port 80 {place}: mode services: it is a service of this run",
            f"yes service/web port 8080 {place}: mode services: it is a service of this run",
        ]
        # Modes pods and debug are off; the port that they would forward has its verdict already, by the entry.
        [pod] = [record["pod"] for record in running.forwards if record["resourceName"] == "app"]
        assert told[3] == f"yes pod/{pod} {place}: it goes with deployment app"
        assert await explain(project, f"pod/{pod}") == [told[3]]
        [line] = await explain(project, "svc/web", "--output", "json")
        [ident] = json.loads(line)["forwards"]
        assert ident in {record["id"] for record in running.forwards}
        assert await explain(project, "svc/nothing", code=1) == []


async def test_explain_answers_for_what_no_mode_asks_for(project: Project) -> None:
    """Under a plain `skaffold dev`, whose mode is user, for every service and pod of the run."""
    async with developing(project, words=("-n", project.namespace)) as running:
        pod = (await running.ready("app", 90))["pod"]
        place = f"in namespace {project.namespace}"
        assert await explain(project, "svc/web") == [f"no  service/web port 8080 {place}: mode services is off"]
        assert await explain(project, f"pod/{pod}") == [f"yes pod/{pod} {place}: it goes with deployment app"]
        assert {record["resourceName"] for record in running.forwards} == {"app"}
