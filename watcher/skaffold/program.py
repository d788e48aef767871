"""Says whether a program is Skaffold itself, without running it: it may be a wrapper (make, npm, a script).

Skaffold is known by its name, or by that of the file that a link leads to.
"""

from __future__ import annotations

import os
import re

from forwarders.system.processes import find_program

# As it is installed, and as it is downloaded: skaffold-linux-amd64, skaffold-v2.16.1.
_NAME = re.compile(r"skaffold([-_]?v?\d[\w.+-]*|-(linux|darwin|windows)-\w+)?(\.exe)?", re.IGNORECASE)


def is_skaffold(program: str, path: str | None) -> bool:
    """`path`: where bare names are looked for, as in PATH."""
    if _named_so(program):
        return True
    found = find_program(program, path)
    return found is not None and _named_so(os.path.realpath(found))


def _named_so(program: str) -> bool:
    return _NAME.fullmatch(os.path.basename(program)) is not None
