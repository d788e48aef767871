"""Owns this process's supply of file descriptors: as many as the system gives, the last ones not for local connections.

Refuses to wait: callers ask, and pause.
"""

from __future__ import annotations

import os
import sys

if sys.platform != "win32":
    import resource

# A connection costs one, and every fifth a session. Many systems start programs with 1,024 (what select(2) can take)
# and allow far more to those who ask; Go's programs ask for all. What we start inherits it, so not without an end.
ENOUGH = 65_536
# Kept for sessions, watches, plugins and name look-ups: a flood of clients must not take what its own sessions need.
RESERVE, LARGEST_SHARE = 64, 8


def raise_limit() -> None:
    """Lifts the soft limit (`ulimit -n`) towards the hard one; does nothing where that is refused."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # macOS has a limit of its own below an infinite one
            return


def among_the_last(descriptor: int) -> bool:
    """Whether so few are left that `descriptor`, the lowest that was free (open(2)), is of the reserve."""
    if sys.platform == "win32":
        return False
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft != resource.RLIM_INFINITY and descriptor >= soft - min(RESERVE, soft // LARGEST_SHARE)


def scarce() -> bool:
    """Whether only the reserve is left."""
    try:
        lowest = os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return True
    os.close(lowest)
    return among_the_last(lowest)
