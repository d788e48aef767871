"""Owns what can be wrong with a Docker engine, or with what says where it is. Each is one line."""

from __future__ import annotations

from watcher.errors import UsageError, WatcherError


class DockerError(WatcherError):
    """The engine did not answer as it should: what was asked, what came back."""


class DaemonAddressError(UsageError):
    """DOCKER_HOST or the Docker context names something that cannot be meant, or not be reached from here."""
