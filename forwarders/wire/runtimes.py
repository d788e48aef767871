"""How each container runtime forwards a port, and what its error texts prove about a connection.

A client learns only from an error text which runtime answers. So every text is compared with those of all runtimes,
and each duration and bound below is the worst one of the table. docs/design/wire.md has more of each runtime.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from msgspec import Struct

KIB = 1024


class Meaning(Enum):
    """What an error text proves."""

    REFUSED = auto()  # there was no connection to the application
    GONE = auto()  # nor will there be one: the pod's sandbox has ended
    BROKEN = auto()  # a connection was there, and broke
    UNKNOWN = auto()


class ContainerRuntime(Struct, frozen=True):
    """One row. The texts are regular expressions; case does not matter.

    `swallows`: bytes that the runtime takes before its dial has succeeded. `refuses_within`: seconds until a refusal.
    `ends_after`: seconds from the end of one side to the end of the other.
    """

    name: str
    source: str
    refused: tuple[str, ...]
    gone: tuple[str, ...]
    broken: tuple[str, ...]
    swallows: int
    refuses_within: float
    ends_after: float


# The texts of Go and of C for errors of an established connection.
_BROKEN = ("connection reset by peer", "broken pipe")

RUNTIMES = (
    ContainerRuntime(
        name="containerd 1.6",
        source="containerd pkg/cri/sbserver/sandbox_portforward_linux.go; measured",
        refused=(r"failed to connect to localhost:\d+ inside namespace",),
        gone=("network namespace for sandbox .* is closed", "failed to find sandbox .* not found"),
        broken=_BROKEN,
        swallows=0,
        refuses_within=0.005,
        ends_after=1.0,
    ),
    ContainerRuntime(
        name="containerd 1.7 and 2",
        source="containerd internal/cri/server/sandbox_portforward_linux.go; measured on 2.4.2",
        refused=(r"failed to connect to localhost:\d+ inside namespace",),
        gone=("network namespace for sandbox .* is closed", "failed to find sandbox .* not found"),
        broken=_BROKEN,
        swallows=0,
        refuses_within=0.005,
        ends_after=1.0,
    ),
    ContainerRuntime(
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
        swallows=0,
        refuses_within=0.005,
        ends_after=1.0,
    ),
    ContainerRuntime(
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
        # Linux's pipe to socat, and io.Copy's buffer before it.
        swallows=(64 + 32) * KIB,
        refuses_within=0.11,
        ends_after=0.5,
    ),
)

# The error of connect(2) if nothing listens. With this text there was no connection, whatever surrounds it.
_ECONNREFUSED = "connection refused"


def _any(texts: set[str]) -> str:
    return f"(?is){'|'.join(sorted(texts))}"


_GONE = _any({text for runtime in RUNTIMES for text in runtime.gone})
_REFUSED = _any({_ECONNREFUSED} | {text for runtime in RUNTIMES for text in runtime.refused})
_BREAKS = _any({text for runtime in RUNTIMES for text in runtime.broken})

# The largest DATA frame that the runtime may have read from its stream without passing it on.
MAX_TAKEN_FRAME = 128 * KIB
# The runtime takes more bytes than this only after it has connected; fewer may wait in its pipe.
MOST_SWALLOWED = max(runtime.swallows for runtime in RUNTIMES) + MAX_TAKEN_FRAME
# Seconds without a refusal, after the runtime has the request, until a dial counts as successful. Starting socat takes
# longer on a busy node.
DIAL_GRACE = max(runtime.refuses_within for runtime in RUNTIMES) + 0.04
# Seconds after our RST_STREAM or the application's end in which every runtime ends the pair, with a margin.
PAIR_ENDS_WITHIN = max(runtime.ends_after for runtime in RUNTIMES) + 0.5


def meaning(text: str) -> Meaning:
    """What the runtime's text proves."""
    if re.search(_GONE, text):
        return Meaning.GONE
    if re.search(_REFUSED, text):
        return Meaning.REFUSED
    return Meaning.BROKEN if re.search(_BREAKS, text) else Meaning.UNKNOWN


def says_refused(text: str) -> bool:
    """Whether a runtime's error text says that the connection was refused (ECONNREFUSED)."""
    return _ECONNREFUSED in text.lower()


# The parts in which two texts of one kind differ.
_VARIES = r"(?i)[0-9a-f]{8,}|\d+"


def shape(text: str) -> str:
    """The text without numbers and identifiers: equal for all texts of one kind."""
    return re.sub(_VARIES, "…", text)
