"""Turns a kubeconfig user's `as`, `as-uid`, `as-groups` and `as-user-extra` into the headers that kubectl sends.

client-go transport/round_trippers.go (NewImpersonatingRoundTripper).
"""

from __future__ import annotations

from forwarders.transports.server import Headers
from watcher.cluster.kubeconfig import SelectedContext

# RFC 9110's token characters; client-go escapes every other byte, and "%" itself.
_LEGAL = frozenset(b"!#$&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def impersonation(selected: SelectedContext) -> Headers:
    """Empty where nobody is impersonated. Raises KubeconfigError."""
    name = _text(selected, "as", selected.user.get("as"))
    uid = _text(selected, "as-uid", selected.user.get("as-uid"))
    groups = _texts(selected, "as-groups", selected.user.get("as-groups"))
    headers = [("Impersonate-User", name)] if name else []
    headers += [("Impersonate-Uid", uid)] if uid else []
    headers += [("Impersonate-Group", group) for group in groups]
    headers += _extra(selected)
    if headers and not name:
        selected.refuse("user", "as", "is missing: as-uid, as-groups and as-user-extra need it")
    return headers


def _extra(selected: SelectedContext) -> Headers:
    field = "as-user-extra"
    extra = selected.user.get(field) or {}
    if not isinstance(extra, dict):
        selected.refuse("user", field, "is not a mapping of names to lists")
    return [
        (f"Impersonate-Extra-{_escaped(_text(selected, field, name))}", value)
        for name, values in extra.items()
        for value in _texts(selected, field, values)
    ]


def _texts(selected: SelectedContext, field: str, values: object) -> list[str]:
    if not isinstance(values, list | None):
        selected.refuse("user", field, "is not a list")
    return [_text(selected, field, value) for value in values or ()]


def _text(selected: SelectedContext, field: str, value: object) -> str:
    if not isinstance(value, str | None):
        selected.refuse("user", field, "is not a text")
    text = value or ""
    if not (text.isprintable() and text.isascii()):
        selected.refuse("user", field, "has characters that no HTTP header may have")
    return text


def _escaped(name: str) -> str:
    return "".join(chr(byte) if byte in _LEGAL else f"%{byte:02X}" for byte in name.encode())
