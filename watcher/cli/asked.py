"""Owns the step from what the user asked for, on the command line and in portside.yaml, to facts that no event changes.

An option (or its variable) wins over portside.yaml, that over the command's default. Raises UsageError.
"""

from __future__ import annotations

from watcher.cli.options import Options
from watcher.config.entries import DEFAULT_ADDRESS, checked_address
from watcher.config.settings import Settings
from watcher.plan.facts import Facts, Waiting
from watcher.skaffold import modes
from watcher.skaffold.modes import Mode

NOTHING = Settings()


def base_facts(options: Options, settings: Settings = NOTHING) -> Facts:
    """Facts with everything that comes from options and portside.yaml alone, but for modes and entries."""
    hold = next((given for given in (options.hold, settings.hold) if given is not None), Waiting().hold)
    return Facts(
        addresses=_addresses(options) or settings.addresses or (DEFAULT_ADDRESS,),
        strict_ports=options.strict_ports,
        namespace=options.namespace,
        waiting=Waiting(hold=hold, held=options.held, linger=options.linger),
        rules=settings.rules,
    )


def modes_for(options: Options, settings: Settings, command: str) -> frozenset[Mode]:
    """`command` is Skaffold's, or portside's `watch`."""
    if options.port_forward is not None:
        return modes.parse_modes(options.port_forward, command)
    return (
        modes.parse_modes(settings.modes, command, settings.modes_origin)
        if settings.modes
        else modes.default_modes(command)
    )


def _addresses(options: Options) -> tuple[str, ...]:
    """Where to listen, each once."""
    return tuple(dict.fromkeys(checked_address(address, "--address") for address in options.address))
