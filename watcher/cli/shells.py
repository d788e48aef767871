"""Tells click how bash, zsh and fish ask for completions, and what they do with them.

Only a shell's question and `portside completion` import it.
"""

from __future__ import annotations

import logging
import os
import re
from typing import Any

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

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
