"""Describes how each container runtime forwards a port, and tells from its error text what became of a connection.

A client does not learn which runtime answers until something fails, and then only from the text. So every text is
compared with those of all runtimes, and each duration and bound below is the worst one of the table.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from msgspec import Struct

KIB = 1024


class Meaning(Enum):
    """What an error text proves."""

    REFUSED = auto()  # no connection to the application came about
    GONE = auto()  # nor will one: the pod's sandbox has ended
    BROKEN = auto()  # a connection stood, and broke
    UNKNOWN = auto()


class Runtime(Struct, frozen=True):
    """One row. Texts are regular expressions; case does not matter.

    `order`: of the ends after an error, as seen on the wire. `swallows`: bytes that the runtime takes before its dial
    has succeeded. `refuses_within` and `ends_after`: seconds until a refusal, and from one side's end to the other's.
    `reset_stops`: whether our RST_STREAM ends a download; where not, it goes on while the application sends.
    """

    name: str
    source: str
    refused: tuple[str, ...]
    gone: tuple[str, ...]
    broken: tuple[str, ...]
    order: str
    swallows: int
    refuses_within: float
    ends_after: float
    reset_stops: bool


# The words of Go and of C for the errors of a connection that stood.
_BROKEN = ("connection reset by peer", "broken pipe")

RUNTIMES = (
    Runtime(
        name="containerd 1.6",
        source="containerd pkg/cri/sbserver/sandbox_portforward_linux.go; measured",
        refused=(r"failed to connect to localhost:\d+ inside namespace",),
        gone=("network namespace for sandbox .* is closed", "failed to find sandbox .* not found"),
        broken=_BROKEN,
        order="data FIN, text, error FIN",
        swallows=0,
        refuses_within=0.005,
        ends_after=1.0,
        reset_stops=True,
    ),
    Runtime(
        name="containerd 1.7 and 2",
        source="containerd internal/cri/server/sandbox_portforward_linux.go; measured on 2.4.2",
        refused=(r"failed to connect to localhost:\d+ inside namespace",),
        gone=("network namespace for sandbox .* is closed", "failed to find sandbox .* not found"),
        broken=_BROKEN,
        order="data FIN, text, error RST",
        swallows=0,
        refuses_within=0.005,
        ends_after=1.0,
        reset_stops=True,
    ),
    Runtime(
        name="CRI-O",
        source="cri-o internal/oci/runtime_oci.go, server/sandbox_portforward.go; texts read, refusal measured on 1.37",
        refused=(r"failed to connect to localhost:\d+ inside namespace", r"failed to dial \d+: dial tcp"),
        gone=(
            "sandbox .* is not running",
            "could not find sandbox",
            "PodSandbox with ID .* not found",
            "network namespace path of sandbox .* is empty",
            "failed to Statfs",
            "unable to prepare portforward endpoint",
        ),
        broken=_BROKEN,
        order="data FIN, text, error RST",
        swallows=0,
        refuses_within=0.005,
        ends_after=1.0,
        reset_stops=True,
    ),
    Runtime(
        name="dockershim, cri-dockerd",
        source="kubernetes 1.23 pkg/kubelet/dockershim/docker_streaming_others.go (nsenter, socat); measured",
        refused=(
            r"socat\[\d+\] E connect\(",
            "unable to do port forwarding: (socat|nsenter) not found",
        ),
        gone=(
            "container not running",
            "no such container",
            "nsenter: cannot open /proc/",
            "nsenter: reassociate to namespace .* failed",
        ),
        broken=(*_BROKEN, r"socat\[\d+\] E (read|write)\("),
        order="text, error FIN, data FIN",
        # Linux's pipe to socat, and io.Copy's buffer before it.
        swallows=(64 + 32) * KIB,
        refuses_within=0.11,
        ends_after=0.5,
        reset_stops=False,
    ),
)

# What connect(2) says where nothing listens. With these words no connection came about, whatever surrounds them.
_ECONNREFUSED = "connection refused"


def _any(texts: set[str]) -> re.Pattern[str]:
    return re.compile("|".join(sorted(texts)), re.IGNORECASE | re.DOTALL)


_GONE = _any({text for runtime in RUNTIMES for text in runtime.gone})
_REFUSED = _any({_ECONNREFUSED} | {text for runtime in RUNTIMES for text in runtime.refused})
_BREAKS = _any({text for runtime in RUNTIMES for text in runtime.broken})

# The largest DATA frame that the runtime may have taken from its stream without passing it on.
MAX_TAKEN_FRAME = 128 * KIB
# More bytes than this are taken only once the runtime has connected; fewer may wait in its pipe.
MOST_SWALLOWED = max(runtime.swallows for runtime in RUNTIMES) + MAX_TAKEN_FRAME
# Seconds after which a dial of which the runtime is known to have the request has not been refused. Starting socat
# takes longer on a busy node.
DIAL_GRACE = max(runtime.refuses_within for runtime in RUNTIMES) + 0.04
# Seconds after our RST_STREAM or the application's end within which a pair is over: as every runtime does, and a bit.
PAIR_ENDS_WITHIN = max(runtime.ends_after for runtime in RUNTIMES) + 0.5


def meaning(text: str) -> Meaning:
    """What the runtime's text proves."""
    if _GONE.search(text):
        return Meaning.GONE
    if _REFUSED.search(text):
        return Meaning.REFUSED
    return Meaning.BROKEN if _BREAKS.search(text) else Meaning.UNKNOWN


def says_refused(text: str) -> bool:
    """Whether the text has the words of ECONNREFUSED."""
    return _ECONNREFUSED in text.lower()


# What differs between two texts of one kind.
_VARIES = re.compile(r"[0-9a-f]{8,}|\d+", re.IGNORECASE)


def shape(text: str) -> str:
    """The text without its numbers and identifiers: the same for all of one kind."""
    return _VARIES.sub("…", text)
