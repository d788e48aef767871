"""Owns the page for people: its files, each under its own path. What it shows it learns from /v1/events itself."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from watcher.board.http.messages import Answer

# Path: file, media type.
FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/view.js": ("view.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}

# Own files only, no text ever taken for HTML, no frame around it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


def answer(path: str) -> Answer | None:
    """The file at `path`, None where there is none."""
    if path not in FILES:
        return None
    name, media_type = FILES[path]
    return Answer(body=_content(name), media_type=media_type, headers=(("Content-Security-Policy", POLICY),))


@cache
def _content(name: str) -> bytes:
    return files(__name__).joinpath(name).read_bytes()
