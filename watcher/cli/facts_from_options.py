"""Turns options, skaffold.yaml and portside.yaml into facts for the plan, and follows edits of the files.

An option or its variable takes precedence over portside.yaml, and portside.yaml over the command's default.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Self

from msgspec.structs import replace

from forwarders import HOLD
from forwarders.spec import MAX_PORT, port_number
from forwarders.tasks import kept
from watcher.cli.collected import Options, Place
from watcher.config.entries import (
    DEFAULT_ADDRESS,
    DEFAULT_FILE,
    Configuration,
    DirectMode,
    Entry,
    Project,
    Settings,
    checked_address,
    checked_namespace,
)
from watcher.errors import UsageError
from watcher.plan.facts import Facts
from watcher.skaffold import modes
from watcher.skaffold.modes import OFF, Mode
from watcher.user_files import Stamps, change_since, edited_since, stamps

if TYPE_CHECKING:
    from watcher.config.skaffold_yaml import LoadedProject
    from watcher.gateway_names import GatewayRequest
    from watcher.skaffold.command_line import SkaffoldCommand

logger = logging.getLogger("portside.config")

_DEPLOYS_NOTHING = {"build", "test", "verify", "exec"}
# For a command that reads no portside.yaml.
NO_SETTINGS = Settings()


def base_facts(options: Options, settings: Settings = NO_SETTINGS) -> Facts:
    """Makes facts of options and portside.yaml; they lack modes and entries. Raises UsageError."""
    hold = next((given for given in (options.hold, settings.hold) if given is not None), HOLD)
    addresses = tuple(dict.fromkeys(checked_address(address, "--address") for address in options.address))
    return Facts(
        addresses=addresses or settings.addresses or (DEFAULT_ADDRESS,),
        strict_ports=options.strict_ports,
        namespace=options.namespace,
        hold=hold,
        max_waiting=options.max_waiting,
        linger=options.linger,
        rules=settings.rules,
        direct_mode=DirectMode(options.direct or settings.direct or DirectMode.AUTO.value),
    )


def gateway_request(option: str, settings: Settings = NO_SETTINGS) -> GatewayRequest | None:
    """Parses `[ADDR:]PORT` of --gateway, else of portside.yaml; None without a gateway. Raises UsageError."""
    text, origin = (option, "--gateway") if option else (settings.gateway, settings.gateway_origin)
    if not text:
        return None
    from forwarders.gateway.gateway import SUFFIX
    from watcher.gateway_names import GatewayRequest

    host, colon, port = text.rpartition(":")
    number = port_number(port)
    if number is None:
        raise UsageError(f"{origin} {text}: expected [ADDR:]PORT, PORT a number from 1 to {MAX_PORT}")
    address = checked_address(host, origin) if colon else DEFAULT_ADDRESS
    return GatewayRequest(address, number, (SUFFIX, *settings.gateway_suffixes), f"{origin} {text}")


def project_of(
    place: Place, command: str, binary: str = "skaffold", profile_flags: tuple[str, ...] = ()
) -> Project | None:
    """Returns the project that the options name; None if they name none and there is no skaffold.yaml here."""
    from watcher.config.skaffold_yaml import default_file

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


def options_for_run(options: Options, skaffold: SkaffoldCommand) -> Options:
    """Takes an option from Skaffold's command line if portside itself was not given it. Raises UsageError.

    It refuses a Skaffold command that deploys nothing.
    """
    if skaffold.command in _DEPLOYS_NOTHING:
        raise UsageError(
            f"`{skaffold.binary} {skaffold.command}` deploys nothing that could be forwarded to: run it without "
            "portside, or give portside skaffold with dev, debug, run or deploy"
        )
    filename = () if skaffold.filename == DEFAULT_FILE else (skaffold.filename,)
    return replace(
        options,
        port_forward=skaffold.port_forward if options.port_forward is None else options.port_forward,
        namespace=options.namespace or checked_namespace(skaffold.namespace, "--namespace"),
        kube_context=options.kube_context or skaffold.kube_context,
        kubeconfig=options.kubeconfig or skaffold.kubeconfig,
        filename=options.filename or filename,
        profile=options.profile or skaffold.profiles,
        module=options.module or skaffold.modules,
    )


class ConfiguredFacts:
    """Keeps `facts`, which come from options and files, up to date while `run` runs. Created by `load`."""

    def __init__(
        self, options: Options, command: str, project: Project | None, environ: Mapping[str, str], loaded: LoadedProject
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
        """Reads the project's files. `command`: Skaffold's, or portside's `watch`. Raises UsageError."""
        from watcher.config.skaffold_yaml import load_all

        read_at = time.time_ns()
        configured = cls(options, command, project, environ, await load_all(project, environ))
        # What was written meanwhile counts as missing, so that `run` reads it at once.
        configured._seen = {**configured._seen, **dict.fromkeys(edited_since(configured._loaded.sources, read_at))}
        return configured

    @property
    def docker(self) -> bool:
        """Whether the project deploys with Docker alone."""
        return self._loaded.configuration.docker

    @property
    def gateway(self) -> GatewayRequest | None:
        """The gateway of options and portside.yaml at the start. Raises UsageError."""
        return gateway_request(self._options.gateway, self._loaded.settings)

    @property
    def kube_context(self) -> str:
        """The context of the option, else the one that the project deploys to; "" for the current one."""
        return self._options.kube_context or self._loaded.configuration.kube_context

    async def run(self, on_change: Callable[[], None]) -> None:
        """Follows the files until cancelled; calls `on_change` synchronously after `facts` changed."""
        await kept(logger, "following the configuration", partial(self._follow, on_change))

    async def _follow(self, on_change: Callable[[], None]) -> None:
        while True:
            await change_since(self._seen)
            if await self._reload():
                on_change()

    async def _reload(self) -> bool:
        """Reads the files again; returns whether `facts` changed. After an error the old facts stay."""
        from watcher.config.skaffold_yaml import load_all

        before = self._seen = stamps(self._loaded.sources)  # before reading, so that an edit meanwhile is noticed
        try:
            loaded = await load_all(self._project, self._environ)
            facts = _facts(self._options, self._command, loaded)
        except UsageError as error:
            logger.warning("%s; keeping the previous settings", error)
            return False
        self._loaded, self._seen = loaded, {**stamps(loaded.sources), **before}
        changed, self.facts = facts != self.facts, facts
        return changed


def _facts(options: Options, command: str, loaded: LoadedProject) -> Facts:
    configuration: Configuration = loaded.configuration
    active = _modes(options, loaded.settings, command)
    extra = loaded.settings.entries if active != OFF else ()
    # As in Skaffold, --kube-context replaces the contexts of all configurations. Those in portside.yaml stay.
    entries, contexts = configuration.entries, configuration.contexts
    if options.kube_context:
        entries, contexts = tuple(replace(entry, context="") for entry in entries), ()
    return replace(
        base_facts(options, loaded.settings),
        modes=active,
        entries=with_open_path((*entries, *extra)) if options.open else (*entries, *extra),
        bad_entries=configuration.bad if Mode.USER in active else (),
        artifacts=configuration.artifacts,
        contexts=frozenset(contexts),
    )


def with_open_path(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Marks the first entry for the browser (--open), unless portside.yaml marks entries."""
    if not entries or any(entry.open_path for entry in entries):
        return entries
    return (replace(entries[0], open_path="/"), *entries[1:])


def _modes(options: Options, settings: Settings, command: str) -> frozenset[Mode]:
    if options.port_forward is not None:
        return modes.parse_modes(options.port_forward, command)
    if settings.modes:
        return modes.parse_modes(settings.modes, command, settings.modes_origin)
    return modes.default_modes(command)
