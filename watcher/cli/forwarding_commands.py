"""The commands that forward: `run`, `watch` and `forward`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import click

from forwarders.early_ports import close_early, listen_early
from watcher.cli.completion import complete_contexts, complete_targets
from watcher.cli.option_values import (
    OF_SKAFFOLD,
    GroupedCommand,
    GroupedOption,
    refuse_idle,
)
from watcher.cli.options import beside_skaffold, event_api, shared, shared_in_several_namespaces, without_project
from watcher.errors import UsageError

CONTEXT_OPTION = "--context"
_with_cluster = partial(click.option, cls=GroupedOption, group=OF_SKAFFOLD)

RUN_EPILOG = """\b
Examples:
  portside run -- skaffold dev
  portside run --output json -- skaffold dev -p staging --port-forward=user
  portside run -- skaffold run --port-forward
  portside run --exec 'pytest e2e' -- skaffold dev --port-forward=services
  portside run -f k8s/skaffold.yaml -- make dev

portside also reads Skaffold's options after -- (-f, -p, -m, -n, --kube-context,
--kubeconfig, --rpc-http-port, --port-forward).
A program that is not Skaffold (make, npm, a script) is started as it is; the
Skaffold that it starts gets its settings from the environment, and portside from
its own options.
"""

WATCH_EPILOG = """\b
Examples:
  skaffold dev --port-forward=off --rpc-http-port 50052
  portside watch --skaffold http://127.0.0.1:50052
  portside watch --cluster
  portside watch --cluster -n shop -n payments
  portside watch --cluster --selector app.kubernetes.io/part-of=shop

Without --port-forward, the modes user and services are on.
"""

FORWARD_EPILOG = """\b
Examples:
  portside forward svc/web 8080             local 8080, or the next free port
  portside forward svc/web 9000:8080        local 9000, or an error
  portside forward deploy/api :http --exec 'curl "$API_HTTP_URL"'
Variables: PORTSIDE_HOLD for --hold; SKAFFOLD_NAMESPACE for Skaffold's own.
"""

FORWARD_DETAILS = """\b
More examples:
  portside forward web-6c7d 8080 --address 0.0.0.0
  portside forward svc/web :8080 svc/db 5432
  portside forward --context staging svc/web 8080 --context prod svc/web 9080:8080

`8080`: local 8080, or the next free port. `9000:8080`: local 9000, or an error.
`:8080`: any free port. A port's name stands for its number. Connections wait
while no pod is ready.

\b
Exit codes:
  0  ended by a signal, or by --exec with its command's code
  1  no target can ever work: no such object or port, UDP only, no permission,
     the required local port is taken. An object that is deleted later is waited
     for.
  2  wrong usage
"""


@click.command(name="run", cls=GroupedCommand, epilog=RUN_EPILOG, context_settings={"ignore_unknown_options": False})
@click.argument("skaffold", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- skaffold dev ...")
@beside_skaffold
@shared
def run_command(skaffold: tuple[str, ...], **given: Any) -> int:
    """Start Skaffold (dev, debug, run, deploy), or a program that does, and forward what it deploys."""
    from watcher.cli.collected import collect_own
    from watcher.cli.lifecycle import run_forwarding
    from watcher.cli.skaffold_source import run_skaffold

    return run_forwarding(partial(run_skaffold, skaffold), collect_own(given))


@click.command(name="watch", cls=GroupedCommand, epilog=WATCH_EPILOG)
@event_api
@_with_cluster("--cluster", is_flag=True, help="Forward labelled objects, without Skaffold.")
@_with_cluster("--run-id", default="", metavar="ID", help="With --cluster: only objects of this Skaffold run.")
@_with_cluster("--selector", "-l", default="", metavar="LABELS", help="With --cluster: only objects with these labels.")
@_with_cluster("--all-namespaces", "-A", is_flag=True, help="With --cluster: objects of all namespaces.")
@beside_skaffold
@shared_in_several_namespaces
def watch_command(
    url: str,
    *,
    cluster: bool,
    run_id: str,
    selector: str,
    namespace: tuple[str, ...],
    all_namespaces: bool,
    **given: Any,
) -> int:
    """Forward what a Skaffold deploys that runs already, or starts later."""
    from watcher.cli.cluster_source import Selection, watch_cluster
    from watcher.cli.collected import collect
    from watcher.cli.lifecycle import run_forwarding
    from watcher.cli.skaffold_source import watch_skaffold
    from watcher.config.entries import checked_namespace, checked_selector

    for name in namespace:
        checked_namespace(name, "--namespace")
    namespaces = tuple(dict.fromkeys(filter(None, namespace)))
    options = collect({**given, "namespace": namespaces[0] if len(namespaces) == 1 else ""})
    if not cluster:
        if run_id or selector or all_namespaces:
            raise UsageError(
                "--run-id, --selector and --all-namespaces go with --cluster: without it, Skaffold's run is forwarded"
            )
        if len(namespaces) > 1:
            raise UsageError(f"-n {' -n '.join(namespaces)}: several namespaces need --cluster")
        return run_forwarding(partial(watch_skaffold, url), options)
    without_skaffold = "with --cluster, which uses no Skaffold"
    refuse_idle(("--skaffold", "url", without_skaffold, True), ("--publish", "publish", without_skaffold, True))
    if run_id and selector:
        raise UsageError("--run-id and --selector exclude each other")
    if namespaces and all_namespaces:
        raise UsageError("--namespace and --all-namespaces exclude each other")
    selector = selector and checked_selector(selector, "--selector")
    selection = Selection(run_id, selector, None if all_namespaces else namespaces)
    return run_forwarding(partial(watch_cluster, selection), options)


class ContextsAmongTargets(GroupedCommand):
    """A command whose option --context applies to the targets after it, so that its position counts.

    click forgets the position of options, so each --context first becomes a word among the arguments.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(_with_context_words(args)))


def _with_context_words(args: list[str]) -> Iterator[str]:
    words = iter(args)
    for word in words:
        if word == "--":
            yield from (word, *words)
            return
        name, equals, value = word.partition("=")
        if name == CONTEXT_OPTION and (equals or (value := next(words, ""))):
            from watcher.config.targets import in_context

            yield in_context(value)
        else:
            yield word


@click.command(name="forward", cls=ContextsAmongTargets, epilog=FORWARD_EPILOG, details=FORWARD_DETAILS)
@click.argument(
    "targets", nargs=-1, required=True, metavar="TYPE/NAME [LOCAL:]PORT ...", shell_complete=complete_targets
)
@click.option(
    CONTEXT_OPTION,
    cls=GroupedOption,
    metavar="NAME",
    expose_value=False,
    shell_complete=complete_contexts,
    help="Context of the targets after it; repeatable.",
)
@without_project
def forward_command(targets: tuple[str, ...], **given: Any) -> int:
    """Forward named resources and keep forwarding when their pods are replaced."""
    if not given["address"]:
        listen_early(_local_ports(targets))  # the imports that follow take most of the start
    try:
        from watcher.cli.cluster_source import forward_targets
        from watcher.cli.collected import collect
        from watcher.cli.lifecycle import run_forwarding

        return run_forwarding(partial(forward_targets, targets), collect(given))
    finally:
        close_early()


def _local_ports(words: Iterable[str]) -> Iterator[int]:
    """Finds local ports in arguments that are not checked yet: 8080 in `8080` and in `8080:http`."""
    for word in words:
        port, _, _ = word.partition(":")
        if port.isdecimal() and len(port) <= len("65535") and 0 < int(port) < 1 << 16:
            yield int(port)
