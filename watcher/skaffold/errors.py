"""Owns what can go wrong between portside and Skaffold. Refuses wrong usage: that is UsageError, with exit code 2."""

from watcher.errors import WatcherError


class SkaffoldError(WatcherError):
    """Root of this room: something between portside and Skaffold failed; the message says what and what to do."""


class NotSkaffoldError(SkaffoldError):
    """Something answers at the address, but it is not Skaffold's event API."""


class StreamEndedError(SkaffoldError):
    """The event stream is over. Skaffold says no farewell: it may have ended, or only closed this stream."""


class StuckError(SkaffoldError):
    """Skaffold takes no event, or tells us of none any more: a reader has stopped it, ourselves perhaps."""
