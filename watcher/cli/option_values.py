"""Defines how an option is shown and parsed (`collected` makes one value of them).

--help shows the options in groups, with one line for most options, so that a screen shows all of them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from functools import cache
from typing import Any

import click
from click.core import ParameterSource
from click.formatting import join_options

from watcher.errors import UsageError
from watcher.skaffold.skaffold_env import effective_environment

# Variables of Skaffold start with this; portside reads them as Skaffold does, from skaffold.env as well.
SKAFFOLD = "SKAFFOLD_"
# The headings, in order. An option without a group is common.
COMMON, PORTS, OUTPUT, OF_SKAFFOLD, TUNING = "Common", "Ports", "Output", "Skaffold", "Tuning"


class GroupedCommand(click.Command):
    """A command whose --help shows the options in groups. `details` are shown on the reference page only."""

    def __init__(self, *args: Any, details: str = "", **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.details = details

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            if isinstance(option, click.Option) and (record := option.get_help_record(ctx)):
                groups.setdefault(getattr(option, "group", COMMON), []).append(record)
        width = max(len(names) for records in groups.values() for names, _ in records)
        for group in (COMMON, PORTS, OUTPUT, OF_SKAFFOLD, TUNING):
            if group in groups:
                with formatter.section(group):
                    formatter.write_dl([(f"{names:{width}}", text) for names, text in groups[group]])


class GroupedOption(click.Option):
    """An option of one group of --help, which shows its default but not its variable."""

    def __init__(self, *args: Any, group: str = COMMON, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.group = group

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:  # noqa: ARG002 - click's signature
        names = join_options(self.opts)[0]
        if self.secondary_opts and self.default:
            names += f" / {self.secondary_opts[0]}"
        value = "" if self.is_flag or self.count else f" {self.metavar or (self.name or '').upper()}"
        default = f" Default: {self.default:g}." if isinstance(self.default, float) else f" Default: {self.default}."
        return f"{names}{value}", f"{self.help}{default if self.show_default else ''}"


class Seconds(click.FloatRange):
    """The type of an option in seconds; `inf` means forever, `nan` is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


@cache
def environment() -> Mapping[str, str]:
    """Returns the environment with the additions of skaffold.env, as Skaffold itself sees it."""
    return effective_environment(os.environ)


def refuse_idle(*rules: tuple[str, str, str, bool]) -> None:
    """Raises UsageError for an option on the command line that has no effect together with the others.

    Each rule: the option, its parameter's name, the text that says when it has no effect, and whether that applies.
    Environment variables are exempt, because they may be set for other commands.
    """
    context = click.get_current_context()
    for option, name, when, applies in rules:
        if applies and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"{option} means nothing {when}: leave it out")
