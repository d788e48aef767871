"""portside.yaml is edited during traffic, near and far from the API server: forwards that stay are not affected."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import yaml

from fixtures.cluster.bed import Bed
from fixtures.net.way import Way
from tests.chaos.causes import api_server, kubeconfig
from tests.chaos.scene import APPS, ECHO, HTTP
from tests.chaos.traffic import Fate, Target, Traffic
from tests.support.process import Portside, portside
from tests.support.sockets import free_port

pytestmark = pytest.mark.cluster

EDITS = 4
KEPT, STOPPED = APPS[0], APPS[1]


class Project:
    """A folder with a portside.yaml that forwards two ports of each given app."""

    def __init__(self, folder: Path, space: str) -> None:
        self.folder = folder
        self._space = space
        self._ports = {(app, port): free_port() for app in (KEPT, STOPPED) for port in (HTTP, ECHO)}

    def write(self, *apps: str) -> None:
        forwards = [
            {"resourceType": "deployment", "resourceName": app, "namespace": self._space, "port": port, "localPort": at}
            for (app, port), at in self._ports.items()
            if app in apps
        ]
        (self.folder / "new.yaml").write_text(yaml.safe_dump({"apiVersion": "portside/v1", "forwards": forwards}))
        (self.folder / "new.yaml").replace(self.folder / "portside.yaml")

    def target(self, app: str) -> Target:
        return Target(app, self._ports[app, HTTP], self._ports[app, ECHO])


async def states(running: Portside, app: str, state: str) -> None:
    """Returns when both forwards of the app are in that state."""

    def all_are(_: object) -> bool:
        records = [running.last(app, remotePort=port) for port in (HTTP, ECHO)]
        return all(record is not None and record["state"] == state for record in records)

    await running.wait_for(all_are, timeout=90)


@pytest.mark.parametrize("round_trip", [0.0, 0.05, 0.25])
async def test_forwards_are_stopped_and_started_by_edits(
    bed: Bed, space: str, round_trip: float, tmp_path: Path
) -> None:
    """The forwards of one app come and go under load. The other's never fail; its own break or are whole."""
    project = Project(tmp_path, space)
    project.write(KEPT, STOPPED)
    async with trio.open_nursery() as nursery:
        way = Way(api_server(bed), round_trip / 2)
        config = kubeconfig(bed, tmp_path / "far", await nursery.start(way.serve))
        environment = bed.environment() | {"KUBECONFIG": str(config)}
        words = ("watch", "--cluster", "-n", space)
        async with portside(*words, environment=environment, folder=tmp_path) as running:
            for app in (KEPT, STOPPED):
                await states(running, app, "ready")
            traffic = Traffic([project.target(KEPT), project.target(STOPPED)])
            await traffic.learn()
            nursery.start_soon(traffic.run)
            for _ in range(EDITS):
                await traffic.answer([KEPT, STOPPED], 2)
                project.write(KEPT)
                await states(running, STOPPED, "stopped")
                await traffic.answer([KEPT], 2)
                project.write(KEPT, STOPPED)
                await states(running, STOPPED, "ready")
            await traffic.answer([KEPT, STOPPED], 5)
            traffic.stop()
            await traffic.over.wait()
            assert set(traffic.tallies[KEPT].counts) == {Fate.OK}, traffic.tallies[KEPT]
            assert not traffic.tallies[STOPPED].counts.keys() - {Fate.OK, Fate.ERROR}, traffic.tallies[STOPPED]
            assert "bug of portside's" not in running.stderr
        nursery.cancel_scope.cancel()
