"""A command whose option --context holds for the targets that come after it, so that its place counts."""

from __future__ import annotations

from collections.abc import Iterator

import click

OPTION = "--context"


class ContextsAmongTargets(click.Command):
    """click forgets where an option stood; so each --context becomes a word among the arguments first."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(_marked(args)))


def _marked(args: list[str]) -> Iterator[str]:
    words = iter(args)
    for word in words:
        if word == "--":
            yield from (word, *words)
            return
        name, equals, value = word.partition("=")
        if name == OPTION and (equals or (value := next(words, ""))):
            from watcher.config.targets import in_context  # --help does without

            yield in_context(value)
        else:
            yield word
