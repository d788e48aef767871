"""Deals with what the process was started with: closed standard streams, a deleted folder, few file descriptors."""

from __future__ import annotations

import os
import sys

from forwarders.system.terminals import print_utf8
from watcher.errors import UsageError

# Idle, portside has 20 open; a forward with a connection takes a few more.
LEAST_DESCRIPTORS = 64


def open_streams() -> None:
    """Opens the null device for each standard stream that is closed (`>&-`).

    Else the next socket gets the number 1, and what is printed goes to it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - as long as we run
    print_utf8()


def give_up_full_output() -> None:
    """Drops what a full disk did not take of standard output: Python would try it again at its end, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def check_folder() -> None:
    """Raises UsageError where the working folder was deleted."""
    try:
        os.getcwd()
    except OSError as error:
        raise UsageError(f"the working folder cannot be used: {error.strerror}; cd into one that exists") from None


def check_descriptors() -> None:
    """Raises UsageError where no forward could work."""
    from forwarders.system import files

    soft = files.raise_descriptor_limit()
    if soft is not None and soft < LEAST_DESCRIPTORS:
        raise UsageError(f"only {soft} files may be open at once; raise `ulimit -n` to {LEAST_DESCRIPTORS} or more")
