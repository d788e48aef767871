"""Follows the Skaffold at one address: connects, folds its events into facts, notices its end, waits for the next one.

It does not act on an event: it reports the facts before and after each change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import Random

import trio
from msgspec.structs import replace

from forwarders.backoff import Backoff
from watcher.errors import NotSkaffoldError, StreamEndedError, StuckError
from watcher.skaffold.events import EventDecoder
from watcher.skaffold.http_request import Dial, connect_api, parse_api_address
from watcher.skaffold.state import SkaffoldFacts, SkaffoldState, apply, carried_over
from watcher.skaffold.stream import EventStream, Probes

log = logging.getLogger("portside.skaffold")

# Longest pause before the second and before later attempts, in seconds. Skaffold opens its port some 0.1 s after its
# start; a refused loopback connection is cheap.
_PAUSES = 0.15, 1.5
# A Skaffold that `run` has just started needs a moment to open its port: not worth a message.
_REPORT_AFTER = 1.0


class Attachment:
    """Keeps `facts` about the Skaffold at `url` while `run` runs: before it starts, while it works, after it has ended.

    `on_change` is called synchronously, with the facts before and now, whenever they differ; it must not block.
    `random` spreads the attempts to connect, which `dial` makes. Raises UsageError for a malformed `url`.
    """

    def __init__(
        self,
        url: str,
        on_change: Callable[[SkaffoldFacts, SkaffoldFacts], None],
        random: Random,
        dial: Dial = connect_api,
    ) -> None:
        self._address = parse_api_address(url)
        self._on_change = on_change
        self._backoff = Backoff(random, *_PAUSES)
        self._dial = dial
        self.facts = SkaffoldFacts()
        self._state = SkaffoldState()
        self._decoder = EventDecoder()
        self._connections = 0
        self._lost_at = 0.0
        self._reported = ""
        self._garbage_reported = False

    async def run(self) -> None:
        """Follow Skaffold until cancelled; then leave its stream without stopping it, which takes 63 s at most."""
        while True:
            try:
                stream = await self._dial(self._address)
            except (OSError, trio.TooSlowError):
                self._lost(f"no Skaffold answers at {self._address.url}; waiting for one")
            else:
                try:
                    async with EventStream(stream, self._address, Probes(self._dial, self._address)) as events:
                        await self._follow(events)
                except StreamEndedError as error:
                    self._lost(str(error), logging.INFO)
                    self._backoff.reset()
                except NotSkaffoldError as error:
                    self._lost(str(error), logging.WARNING)
                except StuckError as error:
                    self._lost(str(error))
            await trio.sleep(self._backoff.next())

    async def _follow(self, events: EventStream) -> None:
        """Folds one stream's events into a new state, since another stream may come from another Skaffold.

        The facts are published when the replay is complete, so that past run ids and forwards are not acted on.
        """
        await events.open()
        self._connections += 1
        self._decoder = EventDecoder()
        self._state = SkaffoldState()
        try:
            await events.replay(self._on_data)
            log.info("reading the events of Skaffold at %s", self._address.url)
            while True:
                self._publish()
                self._on_data(await events.receive())
        except StreamEndedError:
            self._publish()  # a short `skaffold deploy` may end before its replay counts as complete
            raise

    def _on_data(self, data: bytes) -> None:
        for event in self._decoder.feed(data):
            self._state = apply(self._state, event)
        if self._decoder.garbage and not self._garbage_reported:
            self._garbage_reported = True
            log.warning("skipped a line of Skaffold's event stream that is no event; further ones are not logged")

    def _publish(self) -> None:
        self._reported = ""
        self._change(replace(self._state.facts, attached=True, connections=self._connections))

    def _lost(self, problem: str, level: int | None = None) -> None:
        """Keeps what was deployed and clears what only a running Skaffold does or holds.

        Each problem is logged once at `level`; without a level only if nothing was logged since the loss and it lasts.
        """
        now = trio.current_time()
        if not self.facts.problem:
            self._lost_at = now
        if problem != self._reported and (level or (not self._reported and now - self._lost_at >= _REPORT_AFTER)):
            self._reported = problem
            log.log(level or logging.WARNING, "%s", problem)
        self._change(replace(self.facts, attached=False, problem=problem, phase="", own_forwards={}))

    def _change(self, facts: SkaffoldFacts) -> None:
        before, self.facts = self.facts, carried_over(self.facts, facts)
        if self.facts != before:
            self._on_change(before, self.facts)
