"""Finds the Python interpreters of this machine that can run portside."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

LEAST, MOST = (3, 11), (3, 20)
_VERSION = "import sys; print(*sys.version_info[:2])"


@cache
def pythons() -> dict[tuple[int, int], str]:
    """One interpreter for each version, the oldest version first."""
    found = {sys.version_info[:2]: sys.executable}
    names = (f"python{LEAST[0]}.{minor}" for minor in range(LEAST[1], MOST[1]))
    on_path = [path for name in names if (path := shutil.which(name))]
    for path in (*on_path, *map(str, Path.home().glob(".pyenv/versions/*/bin/python"))):
        done = subprocess.run([path, "-c", _VERSION], capture_output=True, text=True, check=False)
        if done.returncode == 0:  # pyenv has a shim for every version, and only some of them run
            major, minor = map(int, done.stdout.split())
            found.setdefault((major, minor), path)
    return {version: found[version] for version in sorted(found) if version >= LEAST}


def oldest() -> str:
    return next(iter(pythons().values()))


def newest() -> str:
    return list(pythons().values())[-1]
