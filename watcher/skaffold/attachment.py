"""Owns the standing relation to one Skaffold address: connect, follow its events, notice its end, wait for the next.

Refuses to decide anything from an event: it keeps facts up to date and says when they have changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from random import Random

import trio
from msgspec.structs import replace

from watcher.errors import NotSkaffoldError, StreamEndedError, StuckError
from watcher.skaffold.address import parse_address
from watcher.skaffold.decoder import EventDecoder
from watcher.skaffold.exchange import Dial, connect
from watcher.skaffold.marks import Marks
from watcher.skaffold.state import SkaffoldFacts, SkaffoldState, apply, carried_over
from watcher.skaffold.stream import EventStream

log = logging.getLogger("portside.skaffold")

# Seconds between attempts. Skaffold opens its port some 0.1 s after its start; a refused loopback connection is cheap.
_FIRST_DELAY = 0.1
_LAST_DELAY = 1.0
# A Skaffold started beside us needs a moment to open its port: nothing to bother people with.
_SAY_AFTER = 1.0


class Attachment:
    """Follows the Skaffold at `url` for as long as `run` runs: before it starts, while it works, after it ended.

    `on_change` is called synchronously, with the facts before and now, whenever they differ; it must not block.
    `random` spreads the attempts to connect, which `dial` makes. Raises UsageError for a malformed `url`.
    """

    def __init__(
        self,
        url: str,
        on_change: Callable[[SkaffoldFacts, SkaffoldFacts], None],
        random: Random,
        dial: Dial = connect,
    ) -> None:
        self._address = parse_address(url)
        self._on_change = on_change
        self._random = random
        self._dial = dial
        self._facts = SkaffoldFacts()
        self._state = SkaffoldState()
        self._decoder = EventDecoder()
        self._connections = 0
        self._lost_at = 0.0
        self._said = ""
        self._garbage_said = False

    @property
    def facts(self) -> SkaffoldFacts:
        return self._facts

    async def run(self) -> None:
        """Never returns. On cancellation it leaves Skaffold's stream politely, which takes 63 s at most."""
        delays = _delays(self._random)
        while True:
            try:
                stream = await self._dial(self._address)
            except (OSError, trio.TooSlowError):
                self._lost(f"no Skaffold answers at {self._address.url}; waiting for one")
            else:
                try:
                    async with EventStream(stream, self._address, Marks(self._dial, self._address)) as events:
                        await self._follow(events)
                except StreamEndedError as error:
                    self._lost(str(error), logging.INFO)
                    delays = _delays(self._random)
                except NotSkaffoldError as error:
                    self._lost(str(error), logging.WARNING)
                except StuckError as error:
                    self._lost(str(error))
            await trio.sleep(next(delays))

    async def _follow(self, events: EventStream) -> None:
        """Folds one stream into a fresh state: another stream may well be another Skaffold.

        The facts are shown once the replay is over, so that run ids and forwards of the past are not acted on.
        """
        await events.open()
        self._connections += 1
        self._decoder = EventDecoder()
        self._state = SkaffoldState()
        try:
            await events.replay(self._hear)
            log.info("reading the events of Skaffold at %s", self._address.url)
            while True:
                self._show()
                self._hear(await events.receive())
        except StreamEndedError:
            self._show()  # a short `skaffold deploy` may have said all it had to say before it was settled
            raise

    def _hear(self, data: bytes) -> None:
        for event in self._decoder.feed(data):
            self._state = apply(self._state, event)
        if self._decoder.garbage and not self._garbage_said:
            self._garbage_said = True
            log.warning("passed over a line of Skaffold's event stream that is no event; it will not be said again")

    def _show(self) -> None:
        self._said = ""
        self._change(replace(self._state.facts, attached=True, connections=self._connections))

    def _lost(self, problem: str, level: int | None = None) -> None:
        """What was deployed stays true; what only a living Skaffold does or holds does not.

        Said once at `level`; without one only where nothing was said since the loss and it has lasted a while.
        """
        now = trio.current_time()
        if not self._facts.problem:
            self._lost_at = now
        if problem != self._said and (level or (not self._said and now - self._lost_at >= _SAY_AFTER)):
            self._said = problem
            log.log(level or logging.WARNING, "%s", problem)
        self._change(replace(self._facts, attached=False, problem=problem, phase="", own_forwards={}))

    def _change(self, facts: SkaffoldFacts) -> None:
        before, self._facts = self._facts, carried_over(self._facts, facts)
        if self._facts != before:
            self._on_change(before, self._facts)


def _delays(random: Random) -> Iterator[float]:
    """Doubling from the first to the last delay, each between half and one and a half of it, for ever."""
    delay = _FIRST_DELAY
    while True:
        yield delay * (0.5 + random.random())
        delay = min(2 * delay, _LAST_DELAY)
