"""Owns the checks of the project here: its configuration, and who holds the local ports that it asks for.

Refuses to bind them: a port is judged by who listens on it now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import trio

from forwarders.system.processes import PortOwner, port_owners
from watcher.board.runtime import running_instances
from watcher.config.entries import Entry
from watcher.config.load import Loaded, load_all
from watcher.config.project import Project
from watcher.config.settings import FILE
from watcher.doctor.examine import Once
from watcher.doctor.findings import Finding, NotCheckedError, error, note, ok, warning
from watcher.errors import UsageError

# Skaffold reads the files in a fifth of a second; modules far away may have to be cloned.
READING = 30.0


class ProjectFiles:
    """`project`: None where there is no skaffold.yaml."""

    def __init__(self, project: Project | None, environ: Mapping[str, str]) -> None:
        self._project = project
        self._environ = environ
        self.loaded = Once(self._load, "a configuration that can be read", READING)

    async def _load(self) -> Loaded:
        return await load_all(self._project, self._environ)

    async def docker(self) -> bool:
        """Whether the project deploys with Docker alone, as far as it can be read."""
        try:
            return (await self.loaded.given()).configuration.docker
        except NotCheckedError:
            return False

    async def configuration_check(self) -> Iterable[Finding]:
        try:
            loaded = await self.loaded()
        except UsageError as problem:
            return [error(str(problem), "correct the file")]
        files = [path.name for path in loaded.sources if path.exists()]
        if not files:
            return [
                note(f"there is neither a skaffold.yaml nor a {FILE} here: `watch --cluster` and `forward` need none")
            ]
        entries = len(loaded.configuration.entries) + len(loaded.settings.entries)
        findings = [ok(f"{', '.join(files)}: {entries} forwards asked for")]
        for bad in loaded.configuration.bad:
            findings.append(warning(f"{bad.origin}: {bad.resource_type}/{bad.name}: {bad.reason}", "correct the entry"))
        return findings

    async def ports_check(self) -> Iterable[Finding]:
        loaded = await self.loaded.given()
        entries = (*loaded.configuration.entries, *loaded.settings.entries)
        asked = {entry.local_port.number: entry for entry in reversed(entries) if entry.local_port.number}
        held = await trio.to_thread.run_sync(port_owners, abandon_on_cancel=True)
        if held is None:
            return [
                note("who has which port cannot be looked up by this user", "run doctor as root to have it checked")
            ]
        ours = {running.pid for running in running_instances()}
        findings = [_taken(entry, held[port], ours) for port, entry in sorted(asked.items()) if port in held]
        return findings or [ok(f"{len(asked)} local ports are asked for, none is taken")]


def _taken(entry: Entry, holder: PortOwner, ours: set[int]) -> Finding:
    port = f"port {entry.local_port.number}, which {entry.origin} asks for"
    if holder.pid in ours:
        return ok(f"{port}, is held by the portside that runs here (pid {holder.pid})")
    return warning(f"{port}, is taken by {holder}; the next free one would be used", "free it, or ask for another")
