"""Completes words in bash, zsh and fish: contexts, namespaces, modes, files and the names of objects.

It is silent: an error would appear in the middle of the user's command line. A cluster that does not answer in time
offers nothing, and no login plugin is started.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from watcher.cli.option_values import environment
from watcher.errors import WatcherError

if TYPE_CHECKING:
    from watcher.cluster.kinds import Kind

# Seconds that Tab waits for a cluster, and for a portside on this machine; the variable replaces both.
CLUSTER_WITHIN, INSTANCE_WITHIN = 0.3, 1.0
WITHIN_VARIABLE = "PORTSIDE_COMPLETE_WITHIN"
# Names in Kubernetes and Docker need no quotes in a shell. A name that does is hostile, and is not offered.
_NEEDS_NO_QUOTES = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_BASH_SPECIAL = re.compile(r"[^A-Za-z0-9_./:=@%+,-]")
_SPECIAL_IN_QUOTES = {'"': set('"$`\\!'), "'": {"'"}}
_WORD_BREAKS = {":", "="}

BASH = """\
%(complete_func)s() {
    local response completion type value
    response=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORD="$2" %(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    while IFS= read -r completion; do
        type=${completion%%%%,*} value=${completion#*,}
        case $type in
        dir) compopt -o dirnames ;;
        file) compopt -o default ;;
        plain) COMPREPLY+=("$value") ;;
        esac
    done <<< "$response"
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


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
    return [CompletionItem(incomplete, type="file")]


def offered(names: Iterable[str], incomplete: str) -> list[str]:
    """Sorts the names that start with `incomplete`, and leaves out those that a shell would have to quote."""
    return _starting_with(incomplete, sorted(name for name in names if _NEEDS_NO_QUOTES.fullmatch(name)))


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


class _Bash(BashComplete):
    """Completes in bash: escapes values, and handles words that contain a colon.

    bash itself splits a word at colons, and replaces only the part after the last one.
    """

    source_template = BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"]
        start, self._quote = _last_word(line)
        part = os.environ["COMP_WORD"]
        kept = line[start:].removesuffix("" if part in _WORD_BREAKS else part)
        self._kept = _unquoted(kept.partition("=")[2] if kept.startswith("-") else kept)
        return split_arg_string(line[:start])[1:], _unquoted(line[start:])

    def format_completion(self, item: CompletionItem[Any]) -> str:
        value = item.value.removeprefix(self._kept)
        if item.type == "plain" and not self._quote:
            value = _BASH_SPECIAL.sub(r"\\\g<0>", value)
        if _SPECIAL_IN_QUOTES.get(self._quote, set()) & set(value):
            return ""
        return f"{item.type},{value}"


class _WholeWord(ShellComplete):
    """Repeats the option in the value of `--option=value`, because zsh and fish replace the whole word."""

    def get_completion_args(self) -> tuple[list[str], str]:
        args, incomplete = super().get_completion_args()
        name, equals, _ = incomplete.partition("=")
        self._option = f"{name}=" if equals and name.startswith("--") else ""
        return args, incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        if item.type == "plain":
            item.value = f"{self._option}{item.value}"
        return super().format_completion(item)


class _Zsh(_WholeWord, ZshComplete):
    pass


class _Fish(_WholeWord, FishComplete):
    """Completes for fish, also values that contain a comma."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split -m 1 ","')


def _last_word(line: str) -> tuple[int, str]:
    """The start of the last word of a command line, and the quote that is open at its end, or ""."""
    start, quote, escaped = 0, "", False
    for index, character in enumerate(line):
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character.isspace():
            start = index + 1
    return start, quote


def _unquoted(word: str) -> str:
    return next(iter(split_arg_string(word)), "")


def prepare_completion() -> None:
    """Registers these shells with click; call it when a shell asks for completions, or for its script."""
    logging.disable()
    for kind in (_Bash, _Zsh, _Fish):
        add_completion_class(kind)
