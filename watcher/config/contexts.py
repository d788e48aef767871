"""Finds which kube-context each configuration of a project deploys to, as Skaffold does (runner/deployer.go)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from watcher.config.documents import Mapping
from watcher.config.modules import kube_context


def contexts_of(documents: Iterable[Mapping], current: Callable[[], str]) -> list[str]:
    """For each configuration its context, "" where they all deploy to the default one.

    Beside one that names a context, those without one deploy to the `current` context.
    """
    named = [kube_context(document) for document in documents]
    if len(set(named)) <= 1:
        return ["" for _ in named]
    return [name or current() for name in named]
