"""Owns how httpx connects: as sessions to pods do, so that a path that is back is used within a second.

Refuses HTTP, and to know whether it is a proxy that is connected to.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import httpcore
import trio

from forwarders.transports.sockets import first_connected


class RacingBackend(httpcore.TrioBackend):
    """Attempts beside one another while SYNs vanish."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """`timeout` counts for all attempts. Raises httpcore.ConnectError, ConnectTimeout."""
        connect = partial(super().connect_tcp, host, port, local_address=local_address, socket_options=socket_options)
        try:
            with trio.fail_after(float("inf") if timeout is None else timeout):
                return await first_connected(connect, httpcore.ConnectError)
        except trio.TooSlowError as error:
            raise httpcore.ConnectTimeout(f"no answer within {timeout} s") from error
