"""Gives back connections whose dial hangs in a pod that has gone away, so that they are dialled in another pod.

The runtime's connect(2) hangs if its network namespace goes away at that moment. Nothing comes back, for 20 s or for
ever. Another dial on the same session tells whether the sandbox has gone. If so, no application is left, and whatever
had been connected ends within PAIR_ENDS_WITHIN. A connection that has heard nothing by then was never connected.
"""

from __future__ import annotations

import trio

from forwarders.session import Session
from forwarders.tunnel import DialError, Tunnel
from forwarders.wire.runtimes import PAIR_ENDS_WITHIN

# How often the silent connections of a pod that nobody wants are looked at: with PAIR_ENDS_WITHIN, 2 s.
UNDIALLED_LOOK = 0.4
# How long the end of a session may take to reach the runtime, which drops what nobody has taken.
UNDIALLED_PAUSE = 0.5
# The dial that only asks goes to a port that no application listens on (tcpmux): the sandbox is looked at first.
ASKED_PORT = 1
# It may hang as well.
ASK_TIMEOUT = 1.0


class HungDials:
    """Of one pod, while nobody wants it any more."""

    def __init__(self) -> None:
        self._asking: set[Session] = set()

    def look(self, sessions: list[Session], nursery: trio.Nursery) -> None:
        for session in sessions:
            tunnel = session.take_undialled()
            if tunnel is not None:
                nursery.start_soon(_give_back_after_the_session, tunnel)
            elif session.usable and session not in self._asking and (silent := session.silent()):
                self._asking.add(session)
                nursery.start_soon(self._ask, session, silent)

    async def _ask(self, session: Session, silent: list[Tunnel]) -> None:
        try:
            if await _sandbox_has_gone(session):
                await trio.sleep(PAIR_ENDS_WITHIN)
                for tunnel in silent:
                    if not (tunnel.received or tunnel.finished or tunnel.closed):
                        tunnel.fail(_never_dialled())
        finally:
            self._asking.discard(session)


async def _sandbox_has_gone(session: Session) -> bool:
    asking = session.open(ASKED_PORT)
    with trio.move_on_after(ASK_TIMEOUT):
        await asking.wait_finished()
    error = asking.error
    asking.abort()
    return isinstance(error, DialError) and error.sandbox_gone


async def _give_back_after_the_session(tunnel: Tunnel) -> None:
    await trio.sleep(UNDIALLED_PAUSE)
    tunnel.finish(_never_dialled())


def _never_dialled() -> DialError:
    return DialError("the pod went away before the runtime had dialled", sandbox_gone=True)
