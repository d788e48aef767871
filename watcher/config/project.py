"""Owns what is asked of this room, and what it answers. Refuses IO."""

from __future__ import annotations

from msgspec import Struct

from watcher.config.entries import BadEntry, Entry

DEFAULT_FILE = "skaffold.yaml"


class Project(Struct, frozen=True, kw_only=True):
    """Which configuration is meant. `profiles` as for Skaffold's -p: `-name` turns one off.

    `binary`: Skaffold's name or path, None to do without. `command`: Skaffold's (dev, run …), for profiles that it
    activates; `kube_context`, `kubeconfig`: likewise, "" where none was named. `profile_flags`: Skaffold's own words
    --profile-auto-activation=… and --propagate-profiles=….
    """

    filename: str = DEFAULT_FILE
    profiles: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    binary: str | None = "skaffold"
    command: str = "dev"
    kube_context: str = ""
    kubeconfig: str = ""
    profile_flags: tuple[str, ...] = ()


class Configuration(Struct, frozen=True):
    """The entries of a project; `bad` are those that cannot be forwarded while the others can.

    `artifacts`: the names of the images it builds. `docker`: it deploys with Docker alone, nothing to Kubernetes.
    `kube_context`: the one it says to deploy to, "" where it says none; `contexts`: all of them, where several differ.
    `sources`: the files that were read, the project's own first.
    """

    entries: tuple[Entry, ...] = ()
    bad: tuple[BadEntry, ...] = ()
    artifacts: tuple[str, ...] = ()
    docker: bool = False
    kube_context: str = ""
    contexts: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
