"""Runs portside as a subprocess in its own folder, without this machine's configuration."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.process import PORTSIDE

# A cold start on a busy machine takes two seconds; the rest is patience.
PATIENCE = 60
NAMESPACE = "parity"  # the recorded run's
# Parts of the lines about what takes long. On a busy machine anything may.
TAKES_LONG = ("portside: waiting: ", " has not answered yet", "portside: still shutting down")


def problems_in(stderr: str) -> list[str]:
    """The lines on stderr without those about what takes long, so that a busy machine does not fail a test."""
    return [line for line in stderr.splitlines() if not any(part in line for part in TAKES_LONG)]


@dataclass
class Place:
    """The folder and environment in which portside is started. Kubernetes and Skaffold find no settings there."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environment = {
            "PATH": os.defpath,
            "HOME": str(self.folder),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "LANG": "C.UTF-8",
        }
        (self.folder / "run").mkdir(mode=0o700)

    def portside(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a command and waits for its end."""
        return subprocess.run(
            [PORTSIDE, *words],
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    @property
    def announced(self) -> list[str]:
        """The names of the files in the runtime directory."""
        return [path.name for path in (self.folder / "run").glob("portside/*")]


def kubeconfig(port: int, *, context: str = "here") -> str:
    """A kubeconfig for a plain-text API server on this machine, without credentials."""
    config: Mapping[str, object] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": context, "context": {"cluster": "here", "user": "nobody"}}],
        "current-context": context,
    }
    return json.dumps(config)


def closed_port() -> int:
    """A port where nothing listens. It was bound for a moment, so the system does not reuse it soon."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port
