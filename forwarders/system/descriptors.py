"""This process's supply of file descriptors: as many as the system gives, the last ones not for local connections.

It does not wait: callers ask, and pause. Windows has no limit that concerns sockets.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

if sys.platform != "win32":
    import resource

# A connection costs one, and every fifth a session. Many systems start programs with 1,024 (what select(2) can take)
# and allow far more to those who ask; Go's programs ask for all. What we start inherits it, so not without an end.
ENOUGH = 65_536
# macOS refuses what is above kern.maxfilesperproc, though the hard limit is infinite: these are tried in turn.
LESS = (10_240, 4_096)
# Kept for sessions, watches, plugins and name look-ups: a flood of clients must not take what its own sessions need.
RESERVE, LARGEST_SHARE = 64, 8


def soft_limit() -> int | None:
    """How many may be open at once (`ulimit -n`); None for any number."""
    if sys.platform != "win32":
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return None if soft == resource.RLIM_INFINITY else soft
    else:  # noqa: RET505 - mypy knows platforms in blocks alone
        return None


def raise_limit() -> int | None:
    """Lifts the soft limit towards the hard one, as far as the system lets us; the limit that holds then."""
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
        for wanted in (most, *(less for less in LESS if less < most)):
            if soft == resource.RLIM_INFINITY or soft >= wanted:
                break
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                break
    return soft_limit()


def among_the_last(descriptor: int) -> bool:
    """Whether so few are left that `descriptor`, the lowest that was free (open(2)), is of the reserve."""
    soft = soft_limit()
    return soft is not None and descriptor >= soft - min(RESERVE, soft // LARGEST_SHARE)


def scarce() -> bool:
    """Whether only the reserve is left."""
    try:
        lowest = os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return True
    os.close(lowest)
    return among_the_last(lowest)
