"""Owns the root of everything `watcher` raises to its callers. Refuses details: each room derives its own."""


class WatcherError(Exception):
    """The message is one line for the user: what was tried, what came back, what to do."""


class UsageError(WatcherError):
    """Wrong usage or configuration, found before anything is bound: one line, exit code 2."""
