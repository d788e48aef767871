"""Owns Skaffold's templates in resourceName and namespace, as far as we render them: `{{.NAME}}` over the environment.

Refuses the rest (sprig's functions, pipes): a template that we would render wrongly is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_FIELD = re.compile(r"\{\{-?\s*\.([A-Za-z_][A-Za-z0-9_]*)\s*-?\}\}")


class TemplateError(ValueError):
    """The text cannot be rendered; the message says why."""


def render(text: str, environ: Mapping[str, str]) -> str:
    """Raises TemplateError: a name that is not in the environment, or more than a plain name."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environ:
            raise TemplateError(f"template {match.group(0)}: {name} is not in the environment")
        return environ[name]

    rendered = _FIELD.sub(value, text)
    if "{{" in rendered:
        raise TemplateError(f"template {text!r}: only {{{{.NAME}}}} is rendered; put the value into a variable")
    return rendered
