"""Makes the code print the quoted lines about Skaffold and its configuration."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import trio

from tests.docs.quoted.scene import HERE, Scene, said
from tests.skaffold.peer import Port
from tests.skaffold.test_attachment import bench
from watcher.cli.facts_from_options import ConfiguredFacts
from watcher.cli.skaffold_source import SkaffoldSource
from watcher.config.entries import Project
from watcher.config.skaffold_yaml import load_configuration
from watcher.errors import ConfigError
from watcher.skaffold.http_request import ApiAddress
from watcher.skaffold.stream import Probes


async def no_skaffold(scene: Scene) -> str:
    async with bench() as at_work:
        while not at_work.seen:
            await trio.testing.wait_all_tasks_blocked()
    return at_work.seen[-1].problem


async def stands_still(scene: Scene) -> str:
    return str(Probes(Port().dial, ApiAddress(HERE, 50051)).stuck())


async def forwards_itself(scene: Scene) -> str:
    source = cast(Any, SkaffoldSource.__new__(SkaffoldSource))
    source._warned, source.runtime = False, MagicMock()
    own = SimpleNamespace(resource_type="service")
    with suppress(AttributeError):  # what is shown of it needs more
        source._publish_own({}, {"own": own})
    return scene.logged


async def broken_edit(scene: Scene) -> str:
    file = scene.folder / "skaffold.yaml"
    file.write_text("apiVersion: skaffold/v4beta13\nkind: Config\n")
    project = Project(filename=str(file), binary=None)
    configured = cast(Any, ConfiguredFacts.__new__(ConfiguredFacts))
    configured._project, configured._environ, configured._seen = project, {}, {}
    configured._loaded = SimpleNamespace(sources=(file,))
    file.write_text("apiVersion: [\n")
    await configured._reload()
    return scene.logged


async def needs_skaffold(scene: Scene) -> str:
    file = scene.folder / "skaffold.yaml"
    file.write_text("apiVersion: skaffold/v99\nkind: Config\n")
    return await said(load_configuration(Project(filename=str(file), binary=None), {}), ConfigError)


PRODUCERS = (no_skaffold, stands_still, forwards_itself, broken_edit, needs_skaffold)
