"""Owns the step from what the user asked for to facts that no event changes. Raises UsageError."""

from __future__ import annotations

from watcher.cli.options import Options
from watcher.config.entries import DEFAULT_ADDRESS, checked_address
from watcher.errors import UsageError
from watcher.plan.facts import Facts, Waiting
from watcher.skaffold.modes import Mode

# Modes that the plan does not know yet.
MISSING = frozenset({Mode.DEBUG, Mode.PODS})


def addresses(options: Options) -> tuple[str, ...]:
    """Where to listen, each once."""
    checked = (checked_address(address, "--address") for address in options.address)
    return tuple(dict.fromkeys(checked)) or (DEFAULT_ADDRESS,)


def base_facts(options: Options) -> Facts:
    """Facts with everything that comes from options alone."""
    return Facts(
        addresses=addresses(options),
        strict_ports=options.strict_ports,
        namespace=options.namespace,
        waiting=Waiting(hold=options.hold, held=options.held, linger=options.linger),
    )


def supported(modes: frozenset[Mode], *, explicit: bool) -> frozenset[Mode]:
    """The modes that can be served. Raises UsageError where the user named one that cannot."""
    missing = modes & MISSING
    if missing and explicit:
        names = ", ".join(sorted(mode.value for mode in missing))
        raise UsageError(f"--port-forward: mode {names} is not there yet; use user, services or off")
    return modes - MISSING
