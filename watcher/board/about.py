"""Says which portside this is: process, folder, Kubernetes context, namespace, and the page's address."""

from __future__ import annotations

from pathlib import Path

import msgspec


class About(msgspec.Struct, frozen=True):
    """`command`: portside's. `context`: "" without a cluster. `namespace`: "" for all.

    `url`: of the status address, "" with --status off.
    """

    pid: int
    url: str
    command: str
    folder: str
    context: str = ""
    namespace: str = ""

    @property
    def place(self) -> str:
        """Context and namespace."""
        if not self.context:
            return "no cluster"
        return f"context {self.context}, {f'namespace {self.namespace}' if self.namespace else 'all namespaces'}"

    @property
    def page(self) -> str:
        """Where the page is."""
        return f"page {self.url}" if self.url else "no page (--status off)"

    @property
    def where(self) -> str:
        """All of it."""
        return f"{self.place}, {self.page}"

    @property
    def first_line(self) -> str:
        """The first line of what a forwarding command prints."""
        return f"portside {self.command}: {self.where}"

    @property
    def name(self) -> str:
        """What tells it from other portsides."""
        return f"portside {self.command} (pid {self.pid}, {self.folder})"


def current_folder() -> str:
    """The working folder, "" where it has been deleted; a name that is not UTF-8 with a sign in its place."""
    try:
        return str(Path.cwd()).encode(errors="replace").decode()
    except OSError:
        return ""
