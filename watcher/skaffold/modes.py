"""Parses Skaffold's --port-forward modes, and knows each command's default (pkg/skaffold/config/portforward.go).

What a mode selects is decided in watcher/plan.
"""

from __future__ import annotations

from enum import Enum

from watcher.errors import UsageError, did_you_mean


class Mode(Enum):
    """A group of things to forward. The empty set is Skaffold's `off`."""

    USER = "user"  # the portForward entries of skaffold.yaml
    SERVICES = "services"  # every port of the run's services
    DEBUG = "debug"  # the debug ports of the run's pods
    PODS = "pods"  # every port of the run's pods


OFF: frozenset[Mode] = frozenset()
_TRUE = {"1", "t", "T", "TRUE", "true", "True"}  # Go's strconv.ParseBool, to the letter
_FALSE = {"off", "0", "f", "F", "FALSE", "false", "False"}
_NAMES = [mode.value for mode in Mode]
_DEFAULTS = {
    "dev": frozenset({Mode.USER}),
    "debug": frozenset({Mode.USER, Mode.DEBUG}),
    "watch": frozenset({Mode.USER, Mode.SERVICES}),  # portside's own command
}


def default_modes(command: str) -> frozenset[Mode]:
    """What `command` (Skaffold's, or portside's `watch`) forwards if no mode is given."""
    return _DEFAULTS.get(command, OFF)


def parse_modes(text: str, command: str, origin: str = "--port-forward") -> frozenset[Mode]:
    """The modes of `--port-forward=text` under `command`. `origin`: where the text was given, for messages.

    A bare flag is the text "true". `pods` includes `debug` and replaces it, as in Skaffold's forwarder_manager.go.
    Raises UsageError: an unknown mode, or off or a boolean together with other modes.
    """
    words = text.split(",")
    alone = next((word for word in words if word in _TRUE | _FALSE), None)
    if alone is not None and len(words) > 1:
        raise UsageError(f'{origin}={text}: "{alone}" cannot be combined with other modes; give it alone')
    if alone is not None:
        debug = {Mode.DEBUG} if command == "debug" else set()
        return frozenset({Mode.USER, Mode.SERVICES} | debug) if alone in _TRUE else OFF
    modes = frozenset(_mode(word, f"{origin}={text}") for word in words)
    return modes - {Mode.DEBUG} if Mode.PODS in modes else modes


def are_modes(text: str) -> bool:
    """Whether `text` is a valid value of --port-forward."""
    return _TRUE.union(_FALSE, _NAMES).issuperset(text.split(","))


def _mode(word: str, where: str) -> Mode:
    try:
        return Mode(word)
    except ValueError:
        raise UsageError(
            f'{where}: unknown mode "{word}"; accepted are {", ".join(_NAMES)} (comma-separated), off, true, false'
            f"{did_you_mean(word, [*_NAMES, 'off', 'true', 'false'])}"
        ) from None
