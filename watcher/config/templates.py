"""Owns Skaffold's templates in resourceName and namespace, as far as we render them: `{{.NAME}}` over the environment.

Refuses the rest (sprig's functions, pipes): a template that we would render wrongly is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_FIELD = re.compile(r"\{\{(?:- )?\s*\.([A-Za-z_][A-Za-z0-9_]*)\s*(?: -)?\}\}")


class TemplateError(ValueError):
    """The text cannot be rendered; the message says why."""


def is_plain(text: str) -> bool:
    """Whether `render` can do it."""
    return "{{" not in _FIELD.sub("", text)


def render(text: str, environ: Mapping[str, str]) -> str:
    """Raises TemplateError: a name that is not in the environment, or more than a plain name."""
    if not is_plain(text):
        raise TemplateError(
            f"template {text!r}: portside alone renders only {{{{.NAME}}}}, and no skaffold binary on PATH did more"
        )

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environ:
            raise TemplateError(f"template {match.group(0)}: {name} is not in the environment")
        return environ[name]

    return _FIELD.sub(value, text)
