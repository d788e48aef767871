"""Lets slow readers leave more unread where others share their session, within one budget for the whole process.

There is no flow control per connection. A session that stops reading for one slow reader stops for all on it. So it
goes on reading for the others' sake, and keeps what the slow one has not taken, until the budget is used up.
"""

from __future__ import annotations

from forwarders.tunnel import Tunnel

# Bytes of one connection: most answers are smaller, so their slow readers never stop a session. And of all together.
FOR_ONE, FOR_ALL = 8 * 1024 * 1024, 64 * 1024 * 1024


class Overdraft:
    """The connections that have more unread than they may alone."""

    def __init__(self) -> None:
        self._over: set[Tunnel] = set()

    def covers(self, tunnel: Tunnel) -> bool:
        """Whether this connection, which is full, may leave more unread."""
        self._over = {other for other in self._over if other.full} | {tunnel}
        return tunnel.unread < FOR_ONE and sum(other.unread for other in self._over) < FOR_ALL
