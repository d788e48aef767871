"""Owns what the gateway itself answers with: a status, a sentence, links. Refuses markup from anywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from http import HTTPStatus

from msgspec import Struct

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><style>:root{{color-scheme:light dark}}
body{{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:3em auto;padding:0 1em}}</style></head>
<body><main><h1>{title}</h1><p>{text}</p>{links}</main></body></html>
"""


class Link(Struct, frozen=True):
    """Where it leads, "" for nowhere, and what it says."""

    url: str
    words: str


def page(status: int, text: str, links: Sequence[Link] = (), *, body: bool = True) -> bytes:
    """A whole answer after which the connection ends. `body`: False for HEAD."""
    phrase = HTTPStatus(status).phrase
    items = "".join(f"<li>{_item(link)}</li>" for link in links)
    title = "portside" if status == HTTPStatus.OK else f"portside: {escape(phrase)}"
    listed = f"<ul>{items}</ul>" if items else ""
    shown = _PAGE.format(title=title, text=escape(text), links=listed).encode()
    later = "Retry-After: 1\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(shown)}\r\n"
        "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\nX-Content-Type-Options: nosniff\r\n"
        f"Cache-Control: no-store\r\nConnection: close\r\n{later}\r\n"
    )
    return head.encode() + (shown if body else b"")


def _item(link: Link) -> str:
    words = escape(link.words)
    return f'<a href="{escape(link.url)}">{words}</a>' if link.url else words
