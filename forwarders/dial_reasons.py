"""Words for a person: why the runtime could not connect to a port in a pod, and how many connections wait."""

from __future__ import annotations

import re

from forwarders.spec import Endpoint
from forwarders.tunnel import DialError
from forwarders.wire.runtimes import says_refused

# A reason is one line of a table. Runtimes name the cause behind all that failed because of it.
MAX_WORDS = 200
_COUNT = re.compile(r"(; )?\d+ connections? waits?$")


def dial_reason(endpoint: Endpoint, error: DialError) -> str:
    """One line: the port, the pod, and what the runtime answered."""
    what = "container" if endpoint.pod.address else "pod"
    where = f"{what} {endpoint.pod.name}"
    words = " ".join(str(error).split())
    if len(words) > MAX_WORDS:
        words = f"… {words[-MAX_WORDS:]}"
    if error.sandbox_gone:
        return f"{where} has ended: {words}"
    if says_refused(str(error)):
        return f"nothing listens on {endpoint.port} in {where}: connection refused"
    return f"no connection to {endpoint.port} in {where}: {words}"


def with_count(reason: str, waiting: int) -> str:
    """The reason, and for how many connections it holds."""
    count = f"{waiting} connection{' waits' if waiting == 1 else 's wait'}" if waiting else ""
    return "; ".join(part for part in (reason, count) if part)


def without_count(reason: str) -> str:
    """The reason alone: what lasts while connections come and go."""
    return _COUNT.sub("", reason)
