"""Opens a URL in the user's browser: the program of BROWSER, else the browser of the desktop."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

# Seconds to wait for the program that opens a URL: it hands over to a browser and ends, or it is the browser.
_OPENS_WITHIN = 3.0


def open_url(url: str, environ: Mapping[str, str] = os.environ) -> str:
    """Opens `url` in the user's browser, without our terminal. Returns why it could not, or "".

    BROWSER lists programs, of which the first that works is used; `%s` stands for the URL. Without it the desktop's own
    browser is used, if there is a desktop.
    """
    if sys.platform == "win32" and not environ.get("BROWSER"):
        try:
            os.startfile(url)  # noqa: S606 - the system's own way
        except OSError as error:
            return error.strerror or str(error)
        return ""
    problem = "there is no display, and BROWSER is not set"
    for command in _browsers(url, environ):
        problem = _browser_problem(command)
        if not problem:
            break
    return problem


def _browsers(url: str, environ: Mapping[str, str]) -> list[list[str]]:
    """The commands that may open `url`, in the order to try them."""
    texts = [text for text in environ.get("BROWSER", "").split(os.pathsep) if text.strip()]
    if texts:
        words = [text.split() for text in texts]
        return [[word.replace("%s", url) for word in (one if "%s" in " ".join(one) else [*one, "%s"])] for one in words]
    if sys.platform == "darwin":
        return [["open", url]]
    return [["xdg-open", url]] if environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY") else []


def _browser_problem(command: list[str]) -> str:
    """Starts `command`; returns why it failed, or "". A browser that stays is a success."""
    quiet = subprocess.DEVNULL
    try:
        process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
        code = process.wait(_OPENS_WITHIN)
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    except subprocess.TimeoutExpired:
        return ""
    return f"{command[0]} ended with exit code {code}" if code else ""
