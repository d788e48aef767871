"""Writes to a descriptor that others write to as well, and may have made non-blocking."""

from __future__ import annotations

import os
import select


def write_whole(descriptor: int, data: bytes) -> None:
    """In one write where the reader keeps up: others who write there come before or after. Raises OSError."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            # Whoever shares our terminal or pipe may have made it non-blocking.
            select.select([], [descriptor], [])
