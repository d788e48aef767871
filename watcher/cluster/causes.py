"""Owns the words for why a connection to the API server failed, dug out of what httpx, httpcore, trio and ssl wrap.

Refuses to decide anything by them: they are for people.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx

from forwarders.system.tcp import error_text


def why(error: BaseException) -> str:
    """A few words on the first cause that says something, without a request's headers or body."""
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message}): see certificate-authority"
    for cause in chain:
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed ({(cause.reason or 'no reason').lower().replace('_', ' ')})"
        if isinstance(cause, socket.gaierror):
            again = cause.errno == socket.EAI_AGAIN
            return "its name was not resolved: no answer from DNS" if again else "its name is not known"
        if isinstance(cause, OSError) and cause.errno:
            return error_text(cause.errno)  # trio's own text repeats the address
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return str(error) or type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error`, what it came from, and what those came from; trio groups the failures of several addresses."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        cause = waiting.pop(0)
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [*getattr(cause, "exceptions", ()), cause.__cause__, cause.__context__]
