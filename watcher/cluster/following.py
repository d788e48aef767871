"""Follows a kubeconfig while portside runs: other credentials are used, another address or authority is moved to.

minikube, kind and k3d rewrite it whenever a cluster comes back. An edit that cannot be used is one warning, and the
previous settings stay.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Never

import trio
from msgspec import Struct

from forwarders.backoff import Backoff
from forwarders.transports.server import ApiServer
from watcher.cluster import kubeconfig, login, tls
from watcher.cluster.credentials import ClusterConfig, server_of
from watcher.cluster.kubeconfig import FILE_FIELDS, SelectedContext
from watcher.errors import KubeconfigError, RenewalError
from watcher.user_files import change_since, stamps

logger = logging.getLogger("portside.cluster")

# Seconds until the next look after a mistake of ours, doubling.
FIRST_PAUSE, LAST_PAUSE = 1.0, 60.0
# Seconds for the new server's credentials, before it is moved to in any case: a plugin may take longer.
CREDENTIALS_FIRST = 2.0


async def follow_kubeconfig(config: ClusterConfig, moved: Callable[[ApiServer], Awaitable[None]]) -> Never:
    """Keeps credentials valid and calls `moved` with another server; until cancelled."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(config.credentials.run)
        await _Follower(config, moved).run()


class _Follower:
    def __init__(self, config: ClusterConfig, moved: Callable[[ApiServer], Awaitable[None]]) -> None:
        self._config = config
        self._moved = moved
        self._selected = config.selected
        self._used_settings: _UsedSettings | None = None
        self._problem = ""

    async def run(self) -> Never:
        pauses = Backoff(Random(), FIRST_PAUSE, LAST_PAUSE)  # noqa: S311 - jitter
        while self._config.context:  # a pod's service account has none, and no kubeconfig
            try:
                files = self._files()
                before = stamps(files)
                await self._look()
                pauses.reset()
                if self._files() == files:
                    await change_since(before)
            except Exception as error:  # noqa: BLE001 - a mistake here must cost no forward
                self._say(f"a mistake of portside's: {type(error).__name__}")
                await trio.sleep(pauses.next())
        await trio.sleep_forever()
        raise AssertionError

    def _files(self) -> frozenset[Path]:
        """The kubeconfig's own files, and those that it names for this context."""
        fields = (self._selected.cluster, self._selected.user)
        named = (Path(str(part[name])) for part in fields for name in FILE_FIELDS if part.get(name))
        return frozenset((*kubeconfig.files(self._config.asked), *named))

    async def _look(self) -> None:
        """Takes over what has changed for our context."""
        try:
            selected = await login.select_context(self._config.asked, self._config.context)
            seen = await trio.to_thread.run_sync(_used_settings, selected)
            if self._used_settings is None:  # what was loaded, if it has not been edited since
                moved = renewed = selected != self._config.selected
            else:
                moved, renewed = seen.place != self._used_settings.place, seen.who != self._used_settings.who
            if moved:
                await self._move(selected)
            elif renewed:
                self._config.credentials.edited()
        except KubeconfigError as error:
            self._say(str(error))
        else:
            self._selected, self._used_settings, self._problem = selected, seen, ""

    async def _move(self, selected: SelectedContext) -> None:
        server = await trio.to_thread.run_sync(server_of, selected, self._config.credentials)
        self._config.credentials.edited()
        with suppress(RenewalError), trio.move_on_after(CREDENTIALS_FIRST):  # what fails is logged, and tried again
            await self._config.credentials(True)  # noqa: FBT003 - ApiServer's signature
        logger.warning('the kubeconfig was edited: context "%s" is now at %s', selected.context, server.url)
        await self._moved(server)

    def _say(self, problem: str) -> None:
        if problem != self._problem:
            logger.warning("%s; keeping the previous settings", problem)
        self._problem = problem


class _UsedSettings(Struct, frozen=True):
    """What portside uses of a context, with the contents of the files that it names."""

    place: tuple[object, ...]
    who: tuple[object, ...]

    def __repr__(self) -> str:
        return "_UsedSettings(…)"


def _used_settings(selected: SelectedContext) -> _UsedSettings:
    """Raises KubeconfigError."""
    return _UsedSettings(
        (selected.cluster, tls.authority_of(selected.cluster)), (selected.user, login.from_files(selected))
    )
