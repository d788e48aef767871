"""Owns the step from --gateway and portside.yaml to a gateway that listens. Raises UsageError for what cannot be.

What a gateway takes is imported where there is one.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from forwarders.listeners import BindError, Bound, bind
from forwarders.spec import ForwardSpec, PortBook, PortPolicy, PortRequest
from watcher.board.addresses import is_loopback
from watcher.config.entries import DEFAULT_ADDRESS, MAX_PORT, checked_address, port_number
from watcher.config.settings import Settings
from watcher.errors import UsageError

if TYPE_CHECKING:
    from forwarders.fleet import Fleet
    from watcher.gateway import GatewayNames, GatewayRequest

logger = logging.getLogger("portside.gateway")


def wished(option: str, settings: Settings) -> GatewayRequest | None:
    """`[ADDR:]PORT` of the option, else of portside.yaml; None where neither asks for a gateway."""
    text, where = (option, "--gateway") if option else (settings.gateway, settings.gateway_origin)
    if not text:
        return None
    from forwarders.gateway.gateway import SUFFIX
    from watcher.gateway import GatewayRequest

    host, colon, port = text.rpartition(":")
    number = port_number(port)
    if number is None:
        raise UsageError(f"{where} {text}: expected [ADDR:]PORT, PORT a number from 1 to {MAX_PORT}")
    address = checked_address(host, where) if colon else DEFAULT_ADDRESS
    return GatewayRequest(address, number, (SUFFIX, *settings.gateway_suffixes), f"{where} {text}")


class Door:
    """The gateway of one portside: bound, and with names that its loop keeps up to date."""

    def __init__(self, request: GatewayRequest, bound: Bound, names: GatewayNames) -> None:
        self.names = names
        self._request = request
        self._bound = bound

    @classmethod
    async def opened(cls, request: GatewayRequest | None) -> Door | None:
        """The one that is wished for, if any. Raises UsageError where its port is taken.

        Asked for by its number, and part of every name's URL: another port, or none, would be no answer.
        """
        if request is None:
            return None
        from watcher.gateway import GatewayNames

        spec = ForwardSpec(
            id="gateway", address=request.address, port=PortRequest(PortPolicy.DEMANDED, request.port), group="gateway"
        )
        try:
            bound = await bind(spec, PortBook())
        except BindError as error:
            raise UsageError(f"{request.origin}: {error}") from None
        if not is_loopback(request.address):
            logger.warning(
                "the gateway at %s:%d can be reached from other machines, and so can all that it leads to",
                request.address,
                request.port,
            )
        return cls(request, bound, GatewayNames(request))

    async def serve(self, fleet: Fleet) -> None:
        """Until cancelled."""
        from forwarders.gateway.gateway import Gateway

        await Gateway(self.names, fleet.adopt, self._request.suffixes).run(self._bound)
