"""Computes the environment that Skaffold sees: the process's, plus the variables of a skaffold.env file.

It changes no process's environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from watcher import user_files

# Skaffold reads it from its working directory, whatever -f says (cmd/skaffold/app/cmd/cmd.go, setEnvVariablesFromFile).
ENV_FILE = "skaffold.env"

# Patterns are texts where a start without a skaffold.env need not compile them; `re` keeps what it has compiled.
_STATEMENT = r"""(?xs)[ \t]*(?:export[ \t]+)?(?P<name>[\w.]+)[ \t]*[=:][ \t]*
        (?:"(?P<double>(?:\\.|[^"\\])*)" | '(?P<single>(?:\\'|[^'])*)' | (?P<bare>(?!["'])[^\n]*))"""
_BLANK = r"(?:\s+|#[^\n]*)+"
_COMMENT = r"(?:(?<=[ \t])#[^\n]*)?$"
_REFERENCE = r"(\\)?\$(\()?\{?([A-Z0-9_]+)?\}?"
_ESCAPES = {"n": "\n", "r": "\r"}


def effective_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` plus the variables of the working directory's skaffold.env that `environ` does not set."""
    try:
        text = user_files.read_bytes(ENV_FILE, user_files.PROJECT_FILE).decode(errors="replace")
    except OSError:  # there is none, or none that can be read
        return dict(environ)
    return parse_env_file(text) | dict(environ)


def parse_env_file(text: str) -> dict[str, str]:
    """The variables of a skaffold.env as godotenv 1.5 reads them. A malformed file is ignored whole, as by Skaffold.

    Comments, `export`, `=` or `:`, quotes (over several lines), \\n in double quotes, ${NAME} of earlier lines.
    """
    text = text.replace("\r\n", "\n")
    variables: dict[str, str] = {}
    at, blanks, statements = 0, re.compile(_BLANK), re.compile(_STATEMENT)
    while True:
        if blank := blanks.match(text, at):
            at = blank.end()
        if at == len(text):
            return variables
        statement = statements.match(text, at)
        if statement is None:
            return {}
        variables[statement["name"]] = _value(statement, variables)
        at = statement.end()


def _value(statement: re.Match[str], variables: Mapping[str, str]) -> str:
    if (single := statement["single"]) is not None:
        return single
    if (double := statement["double"]) is not None:
        return _expand(re.sub(r"\\([^$])", lambda escape: _ESCAPES.get(escape[1], escape[1]), double), variables)
    return _expand(re.sub(_COMMENT, "", statement["bare"], count=1).strip(), variables)


def _expand(value: str, variables: Mapping[str, str]) -> str:
    def referred(reference: re.Match[str]) -> str:
        escaped, command, name = reference.groups()
        if escaped or command:
            return reference[0][1:]
        return variables.get(name, "") if name else reference[0]

    return re.sub(_REFERENCE, referred, value)
