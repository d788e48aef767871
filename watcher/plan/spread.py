"""Owns looking for something in all namespaces, and in the known ones where that is refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from watcher.cluster.kinds import Object
from watcher.cluster.store import Key, Watch
from watcher.plan.facts import Facts


def watches(everywhere: Watch, facts: Facts) -> tuple[Watch, ...]:
    """`everywhere` alone, and with it the same in each known namespace once it was refused.

    The refused watch stays wanted (it is tried again slowly), and those in its place stay until it has objects: an API
    server that is away says nothing about rights. Where the user has named the namespaces, those alone.
    """
    if facts.within:
        return tuple(replace(everywhere, namespace=namespace) for namespace in sorted(facts.within))
    known = sorted(facts.namespaces | {facts.namespace or facts.context_namespace or "default"})
    in_place = tuple(replace(everywhere, namespace=namespace) for namespace in known)
    cluster = facts.cluster
    problem = cluster.problems.get(everywhere)
    replaced = any(watch in cluster.objects or watch in cluster.problems for watch in in_place)
    refused = problem is not None and (problem.forbidden or replaced)
    return (everywhere, *in_place) if refused else (everywhere,)


def found(everywhere: Watch, facts: Facts) -> Mapping[Key, Object]:
    """What these watches have.

    Where the list of everywhere has become old because it is refused now, it counts only for namespaces that have no
    list of their own: what is not known to be gone is kept.
    """
    objects: dict[Key, Object] = {}
    for watch in watches(everywhere, facts):
        if facts.cluster.synced(watch):
            objects = {key: item for key, item in objects.items() if key[0] != watch.namespace}
            objects.update(facts.cluster.objects[watch].items())
    return objects


def unlisted(everywhere: Watch, facts: Facts) -> tuple[Watch, ...]:
    """Those of the watches that have a problem and never listed anything.

    That everywhere is refused says nothing yet, for the known namespaces are asked in its place.
    """
    problems = facts.cluster.problems
    return tuple(
        watch
        for watch in watches(everywhere, facts)
        if watch in problems
        and not facts.cluster.synced(watch)
        and not (problems[watch].forbidden and watch == everywhere)
    )


def is_behind(everywhere: Watch, facts: Facts) -> bool:
    """Whether a list may be old."""
    cluster = facts.cluster
    return any(cluster.synced(watch) and watch in cluster.problems for watch in watches(everywhere, facts))
