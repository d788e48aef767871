"""Owns what can be wrong with a configuration. Each is one line that names file, field and value; exit code 2."""

from __future__ import annotations

from watcher.errors import UsageError


class ConfigError(UsageError):
    """A file or an argument that cannot be meant."""
