"""Renews the headers and the client certificate of one user: before they expire, after a 401, and after an edit.

If a renewal fails, the old credentials are used as long as the API server accepts them, and the renewal is retried
after a growing pause.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from random import Random
from typing import Never

import trio

from forwarders.backoff import Backoff
from forwarders.transports.api_server import Headers
from watcher.cluster import tls
from watcher.cluster.credentials import Credentials
from watcher.errors import KubeconfigError, RenewalError

logger = logging.getLogger("portside.cluster")

# Seconds for which a renewal is shared: many requests meet a 401 together, and with an expired token up to ten a
# second. A file is cheap to read, and its new token should be used within a second; a plugin is a process.
SHARED_FOR, ASKED_FOR = 0.1, 0.5
# Seconds between failing tries, doubling. A plugin costs a process and often a request, but a login in another terminal
# should be noticed within seconds.
FIRST_PAUSE, LAST_PAUSE = 0.5, 10.0
# Fields of a user for which reading runs a command or asks a server.
_RUNS_SOMETHING = {"exec", "auth-provider"}


class CredentialProvider:
    """Keeps the credentials of one context valid, and returns the headers that authenticate a request.

    While `run` runs, it makes the renewals, so a cancelled caller does not stop one. Otherwise the first caller that
    needs a renewal makes it.
    """

    def __init__(self, found: Credentials, again: Callable[[], Awaitable[Credentials]]) -> None:
        self._login = found
        self._again = again
        self._context: ssl.SSLContext | None = None
        self._lock = trio.Lock()
        self._running = False
        self._attempt = trio.CancelScope()
        self._wanted = trio.Event()
        self._over = trio.Event()  # set when the running renewal ends
        self._backoff = Backoff(Random(), FIRST_PAUSE, LAST_PAUSE)  # noqa: S311 - jitter
        self._not_before = float("-inf")
        self._renewals = 0
        self._due = _due(found)
        self._failure = ""

    async def __call__(self, renew: bool) -> Headers:  # noqa: FBT001 - ApiServer's signature
        """The headers; `renew`: after renewing the credentials. Raises RenewalError if the requested renewal failed."""
        due = trio.current_time() >= self._due and not self._running and not self._lock.locked()
        if renew or due:
            await self._renewed()
            if renew and (problem := self._failure or expired(self._login)):
                raise RenewalError(problem)
        return self._login.headers

    async def run(self) -> Never:
        """Renews shortly before the credentials expire, and whenever a caller asks. Runs until cancelled."""
        self._running = True
        try:
            async with self._lock:
                while True:
                    with trio.move_on_at(max(self._due, self._not_before)):
                        await self._wanted.wait()
                    with trio.CancelScope() as self._attempt:
                        await self._renew()
                    if self._attempt.cancel_called:
                        continue  # the kubeconfig was edited meanwhile, perhaps in the moment in which it had been read
                    self._wanted = trio.Event()  # callers that asked meanwhile share this renewal
                    self._over.set()
                    self._over = trio.Event()
        finally:
            self._running = False
            self._over.set()

    @property
    def has_certificate(self) -> bool:
        """Whether the user is known by a client certificate, which an SSL context keeps for good."""
        return self._login.chain is not None

    def use(self, context: ssl.SSLContext | None) -> None:
        """Send the client certificate on TLS connections of this SSL context. Raises KubeconfigError."""
        if context is not None and self._login.chain is not None:
            tls.use_chain(context, self._login.chain, self._login.selected)
        self._context = context

    def edited(self) -> None:
        """Let `run` read the kubeconfig now, because it was edited, even if a renewal hangs or failed."""
        self._attempt.cancel()
        self._not_before = float("-inf")
        self._backoff.reset()
        self._wanted.set()

    async def _renewed(self) -> None:
        if trio.current_time() < self._not_before:
            return
        if self._running:
            self._wanted.set()
            await self._over.wait()
            return
        done = self._renewals
        async with self._lock:
            # Callers that waited for the lock share the renewal of its holder, however long they waited for their turn.
            if self._renewals == done and trio.current_time() >= self._not_before:
                await self._renew()

    async def _renew(self) -> None:
        try:
            self._take(await self._again())
        except Exception as error:  # noqa: BLE001 - a failing login must not end a forward
            self._failed(error)
        self._renewals += 1

    def _take(self, found: Credentials) -> None:
        if self._context is not None and found.chain is not None and found.chain != self._login.chain:
            tls.use_chain(self._context, found.chain, found.selected)
        if self._failure:
            logger.warning("credentials are renewed")
        self._login, self._failure = found, ""
        self._backoff.reset()
        runs_something = found.selected.user.keys() & _RUNS_SOMETHING
        self._not_before = trio.current_time() + (ASKED_FOR if runs_something else SHARED_FOR)
        self._due = _due(found)

    def _failed(self, error: Exception) -> None:
        """Records a failed renewal. The old credentials stay, because they may still work: a 401 will show."""
        # The text of any other error may quote a token.
        text = str(error) if isinstance(error, KubeconfigError) else f"a bug of portside's: {type(error).__name__}"
        if text != self._failure:
            logger.warning("credentials could not be renewed: %s", text)
        self._failure = text
        self._not_before = self._due = trio.current_time() + self._backoff.next()


def expired(found: Credentials) -> str:
    """A message if the client certificate has expired, else "" (also if its date cannot be read)."""
    ends = tls.valid_until(found.chain.certificate) if found.chain is not None else None
    if ends is None or ends > datetime.now(UTC):
        return ""
    selected = found.selected
    return (
        f'kubeconfig {selected.source}: the client certificate of user "{selected.user_name}" (context '
        f'"{selected.context}") expired on {ends:%Y-%m-%d %H:%M} UTC: get a new one from the cluster, then log in again'
    )


def _due(found: Credentials) -> float:
    return float("inf") if found.life is None else trio.current_time() + found.life
