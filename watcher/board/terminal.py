"""Tells whether a terminal is ours to draw on."""

from __future__ import annotations

import os


def in_foreground(descriptor: int) -> bool:
    """Whether this process group has the terminal; a shell's background job does not."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except (OSError, AttributeError):
        return True  # not our controlling terminal: no shell shares it
