"""A clock that does not stand still while the machine sleeps."""

from __future__ import annotations

import sys
import time


def clock_through_sleep() -> float:
    """Seconds; where it is the wall's own clock, setting that one looks like sleep."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    else:  # noqa: RET505 - mypy knows platforms in blocks alone
        return time.time()
