"""Owns the one word about forwards that other machines can reach. Refuses to prevent them: they were asked for."""

from __future__ import annotations

import ipaddress
import logging

from watcher.plan.plan import Plan

logger = logging.getLogger("portside.board")


class Exposure:
    """Each address is said once, however many forwards come and go there."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def say(self, plan: Plan) -> None:
        """Warn of addresses beyond loopback that have not been warned of."""
        for address in dict.fromkeys(wanted.spec.address for wanted in plan.forwards):
            if address not in self._said and not is_loopback(address):
                self._said.add(address)
                logger.warning(
                    "forwards at %s can be reached from other machines: whoever can reach this one can use them",
                    address,
                )


def is_loopback(address: str) -> bool:
    """Whether nobody but this machine can connect there. A host name other than localhost may be anywhere."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
