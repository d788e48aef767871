"""Releases what a failed test left behind, so that it does not make the next test fail.

A failed test's traceback keeps its sockets and generators alive. When they are collected later, Python warns, and every
warning fails the test that runs then.
"""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Iterator

import pytest


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Around a whole test with its fixtures."""
    failed_before = item.session.testsfailed
    result = yield
    if item.session.testsfailed != failed_before:
        _let_go()
    return result


def _let_go() -> None:
    """pytest keeps the last traceback for a debugger."""
    for name in ("last_exc", "last_type", "last_value", "last_traceback"):
        vars(sys).pop(name, None)
    hook, sys.unraisablehook = sys.unraisablehook, _ignore
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()
    finally:
        sys.unraisablehook = hook


def _ignore(_: object) -> None:
    """The test has failed already."""
