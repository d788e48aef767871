"""Owns the project's configuration while it lives: skaffold.yaml's and portside.yaml's, as last read well.

Refuses to lose what is forwarded to a slip of the pen: a file that cannot be read is one warning, and what it said
before stays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Self

from msgspec.structs import replace

from watcher.cli.asked import base_facts, modes_for
from watcher.cli.gateway import wished
from watcher.cli.options import Options, Place
from watcher.config.load import Loaded, load_all
from watcher.config.project import Configuration, Project
from watcher.config.skaffold_yaml import default_file
from watcher.errors import UsageError
from watcher.plan.facts import Facts
from watcher.skaffold.modes import OFF, Mode
from watcher.user_files import Stamps, change_since, stamps

if TYPE_CHECKING:
    from watcher.gateway import GatewayRequest

logger = logging.getLogger("portside.config")


def project_of(
    place: Place, command: str, binary: str = "skaffold", profile_flags: tuple[str, ...] = ()
) -> Project | None:
    """The project that the options mean; None where there is no skaffold.yaml and none was named."""
    filename = place.filename[-1] if place.filename else default_file()
    if filename is None:
        return None
    return Project(
        filename=filename,
        profiles=place.profile,
        modules=place.module,
        binary=binary,
        command=command,
        kube_context=place.kube_context,
        kubeconfig=place.kubeconfig,
        profile_flags=profile_flags,
    )


class Configured:
    """`facts` is everything that options and files say; `run` keeps it true. Made by `load`."""

    def __init__(
        self, options: Options, command: str, project: Project | None, environ: Mapping[str, str], loaded: Loaded
    ) -> None:
        self._options = options
        self._command = command
        self._project = project
        self._environ = environ
        self._loaded = loaded
        self._seen: Stamps = stamps(loaded.sources)
        self.facts = _facts(options, command, loaded)

    @classmethod
    async def load(cls, options: Options, command: str, project: Project | None, environ: Mapping[str, str]) -> Self:
        """Raises UsageError naming file, line and field."""
        return cls(options, command, project, environ, await load_all(project, environ))

    @property
    def docker(self) -> bool:
        """Whether the project deploys with Docker alone."""
        return self._loaded.configuration.docker

    @property
    def gateway(self) -> GatewayRequest | None:
        """The gateway that options or portside.yaml ask for, as of the start. Raises UsageError."""
        return wished(self._options.gateway, self._loaded.settings)

    @property
    def kube_context(self) -> str:
        """The option's, else the one that the project says to deploy to; "" for the current one."""
        return self._options.kube_context or self._loaded.configuration.kube_context

    async def run(self, on_change: Callable[[], None]) -> None:
        """Follows the files until cancelled; `on_change` is called, synchronously, when `facts` are others."""
        while True:
            await change_since(self._seen)
            if await self._reload():
                on_change()

    async def _reload(self) -> bool:
        """Whether `facts` are others."""
        before = self._seen = stamps(self._loaded.sources)  # taken before reading: what is saved meanwhile is news
        try:
            loaded = await load_all(self._project, self._environ)
            facts = _facts(self._options, self._command, loaded)
        except UsageError as error:
            logger.warning("%s; what was read before stays", error)
            return False
        self._loaded, self._seen = loaded, {**stamps(loaded.sources), **before}
        changed, self.facts = facts != self.facts, facts
        return changed


def _facts(options: Options, command: str, loaded: Loaded) -> Facts:
    configuration: Configuration = loaded.configuration
    modes = modes_for(options, loaded.settings, command)
    extra = loaded.settings.entries if modes != OFF else ()
    # --kube-context holds for all configurations, as with Skaffold; what portside.yaml says of a forward stays.
    entries, contexts = configuration.entries, configuration.contexts
    if options.kube_context:
        entries, contexts = tuple(replace(entry, context="") for entry in entries), ()
    return replace(
        base_facts(options, loaded.settings),
        modes=modes,
        entries=(*entries, *extra),
        bad_entries=configuration.bad if Mode.USER in modes else (),
        artifacts=configuration.artifacts,
        contexts=frozenset(contexts),
    )
