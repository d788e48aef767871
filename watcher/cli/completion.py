"""Completes words: contexts, namespaces, modes, files and the names of objects (`shells`: for bash, zsh and fish).

It is silent: an error would appear in the middle of the user's command line. A cluster that does not answer in time
offers nothing, and no login plugin is started.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from watcher.cli.option_values import environment
from watcher.errors import WatcherError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from watcher.cluster.kinds import Kind

# Seconds that Tab waits for a cluster, and for a portside on this machine; the variable replaces both.
CLUSTER_WITHIN, INSTANCE_WITHIN = 0.3, 1.0
WITHIN_VARIABLE = "PORTSIDE_COMPLETE_WITHIN"
# Names in Kubernetes and Docker need no quotes in a shell. A name that does is hostile, and is not offered.
_NEEDS_NO_QUOTES = r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?"


def complete_contexts(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Completes the contexts of the kubeconfig."""
    return _starting_with(incomplete, _context_namespaces(context))


def complete_namespaces(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The namespaces of the cluster, and those that the kubeconfig names."""
    from watcher.cluster.kinds import NAMESPACE

    known = _context_namespaces(context).values()
    return offered({*filter(None, known), *_names_in_cluster(context, NAMESPACE)}, incomplete)


def complete_targets(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Completes TYPE/NAME from the cluster, once TYPE/ is typed; keeps the typed form of the type."""
    from watcher.cluster.kinds import BY_NAME
    from watcher.config.entries import kind_of

    typed, slash, _ = incomplete.partition("/")
    kind = kind_of(typed) if slash else None
    names = _names_in_cluster(context, BY_NAME[kind]) if kind else ()
    return offered((f"{typed}/{name}" for name in names), incomplete)


def complete_seen(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """TYPE/NAME from the answers to `explain` of the portsides that run here; keeps a typed short form of the type."""
    from watcher.board.records import ExplainRecord
    from watcher.board.runtime_files import running_instances
    from watcher.cli.instances import request_json
    from watcher.config.entries import kind_of

    typed, slash, _ = incomplete.partition("/")
    names: set[str] = set()
    for instance in running_instances():
        with contextlib.suppress(WatcherError):
            for one in request_json(instance, "/v1/explain", list[ExplainRecord], _within(INSTANCE_WITHIN)):
                kind = one.resource_type.lower()
                names.add(f"{typed if slash and kind_of(typed) == kind else kind}/{one.resource_name}")
    return offered(names, incomplete)


def complete_modes(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The modes; after a comma those that are not typed yet."""
    from watcher.skaffold.modes import Mode

    before, comma, _ = incomplete.rpartition(",")
    typed = before.split(",")
    words = [mode.value for mode in Mode] if comma else [*(mode.value for mode in Mode), "off", "true", "false"]
    return _starting_with(incomplete, [f"{before}{comma}{word}" for word in words if word not in typed])


def complete_files(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """Tells the shell to complete files itself."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def offered(names: Iterable[str], incomplete: str) -> list[str]:
    """Sorts the names that start with `incomplete`, and leaves out those that a shell would have to quote."""
    return _starting_with(incomplete, sorted(name for name in names if re.fullmatch(_NEEDS_NO_QUOTES, name)))


def _starting_with(incomplete: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete) and word.isprintable()]


def _within(default: float) -> float:
    try:
        return max(0.0, float(os.environ.get(WITHIN_VARIABLE, "")))
    except ValueError:
        return default


def _kubeconfig(context: click.Context) -> str | None:
    return context.params.get("kubeconfig") or environment().get("SKAFFOLD_KUBECONFIG")


def _context_namespaces(context: click.Context) -> dict[str, str]:
    from watcher.cluster import kubeconfig

    try:
        return kubeconfig.context_namespaces(kubeconfig.files(_kubeconfig(context)))
    except (WatcherError, OSError):
        return {}


def _kube_context(context: click.Context) -> str | None:
    """The context for the next target: that of the last --context among the targets, else of --kube-context."""
    from watcher.config.targets import context_of

    among = [name for word in context.params.get("targets") or () if (name := context_of(word))]
    chosen = among[-1] if among else context.params.get("kube_context")
    return chosen or environment().get("SKAFFOLD_KUBE_CONTEXT")


def _names_in_cluster(context: click.Context, kind: Kind) -> list[str]:
    import trio

    namespace = context.params.get("namespace") or environment().get("SKAFFOLD_NAMESPACE") or ""
    where = namespace if isinstance(namespace, str) else ""
    with contextlib.suppress(WatcherError, OSError, ExceptionGroup):
        return trio.run(names_in_cluster, _kubeconfig(context), _kube_context(context), kind, where)
    return []


async def names_in_cluster(kubeconfig: str | None, context: str | None, kind: Kind, namespace: str) -> list[str]:
    """The names of all objects of a kind; [] if the cluster does not answer in time or needs a login plugin."""
    import trio

    from forwarders.transports import connecting
    from watcher.cluster.api_client import ApiClient
    from watcher.cluster.cluster_config import load_cluster_config
    from watcher.cluster.kinds import NAMESPACE
    from watcher.cluster.kubeconfig import files, resolve_context
    from watcher.cluster.store import Watch

    if {"exec", "auth-provider"} & resolve_context(files(kubeconfig), context).user.keys():
        return []
    with trio.move_on_after(_within(CLUSTER_WITHIN)):
        connecting.install_resolver()
        config = await load_cluster_config(kubeconfig, context)
        where = "" if kind is NAMESPACE else namespace or config.namespace or "default"
        async with ApiClient(config.server) as client:
            return [one.metadata.name for one in (await client.list(Watch(kind, where))).objects]
    return []
