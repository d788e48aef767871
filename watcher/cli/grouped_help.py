"""Shows the options of --help in groups, with one line for most options, so that a screen shows all of them."""

from __future__ import annotations

from typing import Any

import click
from click.formatting import join_options

# The headings, in order. An option without a group is common.
COMMON, PORTS, OUTPUT, OF_SKAFFOLD, TUNING = "Common", "Ports", "Output", "Skaffold", "Tuning"


class GroupedCommand(click.Command):
    """Shows its options in groups. `details` are for the reference page, because --help is kept short."""

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
