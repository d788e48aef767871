"""Renders the templates in resourceName and namespace.

`{{.NAME}}` is looked up in the environment here. Everything else (pipes, sprig's functions) is Skaffold's to render
(diagnose.py); without its binary such a template is an error, since a wrong name is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

_FIELD = re.compile(r"\{\{(?:- )?\s*\.([A-Za-z_][A-Za-z0-9_]*)\s*(?: -)?\}\}")


class TemplateError(ValueError):
    """The text cannot be rendered; the message says why."""


class Renderer(Struct, frozen=True):
    """`by_skaffold`: what Skaffold made of the templates that are not plain; None where its binary is not there."""

    environ: Mapping[str, str]
    by_skaffold: Mapping[str, str] | None = None

    def render(self, text: str) -> str:
        """Raises TemplateError: a name that is not in the environment, or a template that nobody could render."""
        if is_plain(text):
            return _FIELD.sub(self._value, text)
        if self.by_skaffold is None:
            raise TemplateError(f"template {text!r} needs the skaffold binary on PATH; {{{{.NAME}}}} alone does not")
        rendered = self.by_skaffold.get(text, text)
        if rendered == text:
            raise TemplateError(f"Skaffold cannot render the template {text!r}: is a variable in it not set?")
        return rendered

    def _value(self, match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in self.environ:
            raise TemplateError(f"template {match.group(0)}: {name} is not in the environment")
        return self.environ[name]


def is_plain(text: str) -> bool:
    """Whether nothing but names has to be looked up."""
    return "{{" not in _FIELD.sub("", text)
