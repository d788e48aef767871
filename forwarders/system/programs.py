"""Finds programs and the user's shell. On Windows nothing is ever run from the working folder.

There the system's own search, and `shutil.which` with it, looks into the working folder first: a cloned repository
could bring its own skaffold.exe.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Mapping, Sequence

WINDOWS = sys.platform == "win32"
# PATHEXT may be written in any case, and name scripts that the system cannot start by itself.
_STARTABLE = {".COM", ".EXE", ".BAT", ".CMD"}
_EXTENSIONS = ".COM;.EXE;.BAT;.CMD"


def find_program(name: str, path: str | None) -> str | None:
    """Where a program is that `name` would start. `path`: the value of PATH to search, None for our own."""
    if not WINDOWS:
        return shutil.which(name, path=path)
    return find_on_windows(name, os.environ.get("PATH", "") if path is None else path)


def find_on_windows(name: str, path: str) -> str | None:
    """A bare name in the absolute folders of `path` alone; anything else as it is, or with an extension of PATHEXT."""
    known = [one for one in os.environ.get("PATHEXT", _EXTENSIONS).split(";") if one.upper() in _STARTABLE]
    extensions = ["", *known] if name.upper().endswith(tuple(_STARTABLE)) else known
    bare = os.path.basename(name) == name
    folders = [folder.strip('"') for folder in path.split(os.pathsep)] if bare else [""]
    for folder in folders:
        if bare and not os.path.isabs(folder):
            continue
        for extension in extensions:
            found = os.path.join(folder, name + extension)
            if os.path.isfile(found):
                return found
    return None


def resolved(command: Sequence[str], environ: Mapping[str, str] | None) -> list[str]:
    """`command` to start: on Windows with the program's full path. Raises FileNotFoundError where there is none."""
    if not WINDOWS:
        return [*command]
    found = find_program(command[0], None if environ is None else environ.get("PATH"))
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
    return [found, *command[1:]]


def shell_command(text: str) -> list[str] | str:
    """The command to start so that the user's shell runs `text`: sh, or the command processor of Windows."""
    if sys.platform == "win32":
        system = os.environ.get("SYSTEMROOT", r"C:\Windows")
        shell = os.environ.get("COMSPEC") or os.path.join(system, "System32", "cmd.exe")
        return f'"{shell}" /d /s /c "{text}"'
    return ["sh", "-c", text]
