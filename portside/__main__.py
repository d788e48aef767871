"""Starts the `portside` command, also as `python -m portside`.

It imports next to nothing, so the first line of `main` runs some milliseconds after the start.
"""

from __future__ import annotations

import gc
import os
import signal
import sys

# Container objects between two garbage collections. Imports create some 100,000 that stay, so collecting them during
# the start finds nothing and takes a seventh of its time. A forwarding command returns to the default
# (watcher/cli/runtime.py).
START_THRESHOLD = 100_000


def main() -> None:
    """The console script."""
    # Until a command handles signals (lifecycle.until_signal), Ctrl-C ends portside at once and without a traceback. A
    # signal that is ignored, as in a script's background job, stays ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(START_THRESHOLD)
    _own_modules_first()
    from watcher.cli.main import main as run  # noqa: PLC0415 - not before the path is right

    run()


def _own_modules_first() -> None:
    """Search the folders of PYTHONPATH and the working folder last: a `watcher.py` there would hide portside's."""
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    given = [] if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "").split(os.pathsep)
    foreign = {os.path.abspath(folder) for folder in given if folder}
    foreign |= set() if sys.flags.safe_path else {os.path.abspath(sys.path[0])}
    last = [folder for folder in sys.path if os.path.abspath(folder) in foreign]
    first = [folder for folder in sys.path if folder not in last]
    sys.path[:] = [*first, *([own] if own in foreign else []), *last]


if __name__ == "__main__":
    main()
