"""What kubelets and container runtimes do differently behind a port-forward, as the beds were seen to do it.

The embedded cluster plays each runtime; without a mode it does as the default bed does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fixtures.cluster.versions import BedVersions, RuntimeKind, minor
from fixtures.embedded import runtimes

_FORWARDING = r"error forwarding port {port} to pod ([0-9a-f]{{64}}), uid : "


@dataclass(frozen=True)
class Ways:
    """One bed's. Texts are patterns of `re`, with `{port}` for the port."""

    # Refused: nothing listens. Gone: the pod's sandbox is stopped or removed. Reset: by the application.
    refused: str
    gone: str
    reset: str | None  # None: a clean end, without a text
    close: float  # seconds between one side's end and the other's
    resets_error_stream: bool  # after a text; otherwise it is ended with FIN
    data_stream_first: bool  # ends before the error stream does; after a refusal, before the text comes
    our_reset_ends: bool  # a download that the client resets; otherwise it goes on while the application sends
    refusal_stops_worker: bool  # where data was sent with the SYNs
    not_upgraded: tuple[int, str]  # the answer to an upgrade that lacks a protocol: status and pattern
    websocket_verb: str  # what RBAC asks for


_CONTAINERD = Ways(
    refused=_FORWARDING
    + r'failed to execute portforward in network namespace "[^"]+/cni-[0-9a-f-]{{36}}": failed to connect to '
    r'localhost:{port} inside namespace "\1", IPv4: dial tcp4 127\.0\.0\.1:{port}: connect: connection refused IPv6 '
    r"dial tcp6: address localhost: no suitable address found ",
    gone=_FORWARDING
    + r'(network namespace for sandbox "\1" is closed|failed to find sandbox "\1" in store: not found)',
    reset=_FORWARDING + r"(?s:.*): read tcp4 127\.0\.0\.1:\d+->127\.0\.0\.1:{port}: read: connection reset by peer",
    close=1.0,
    resets_error_stream=False,
    data_stream_first=True,
    our_reset_ends=True,
    refusal_stops_worker=True,
    not_upgraded=(500, "invalid upgrade response: status code 200\n"),
    websocket_verb="get",
)


def _containerd_2(ways: Ways) -> Ways:
    return replace(ways, resets_error_stream=True, refusal_stops_worker=False)


def _dockershim(ways: Ways) -> Ways:
    return replace(
        ways,
        refused=_FORWARDING
        + r"exit status 1: \d{{4}}/\d\d/\d\d \d\d:\d\d:\d\d socat\[\d+\] E connect\(5, AF=2 127\.0\.0\.1:{port}, 16\): "
        r"Connection refused\n",
        gone=_FORWARDING
        + r"(container not running \(\1\)|no such container: \"\1\"|exit status 1: nsenter: cannot open "
        r"/proc/\d+/ns/net: No such file or directory\n)",
        reset=None,
        close=0.5,
        data_stream_first=False,
        our_reset_ends=False,
        refusal_stops_worker=False,
    )


def ways_of(bed: BedVersions) -> Ways:
    """What to expect of a bed."""
    ways = _CONTAINERD
    if bed.runtime is RuntimeKind.DOCKERSHIM:
        ways = _dockershim(ways)
    elif not bed.containerd.startswith("1.6"):
        ways = _containerd_2(ways)
    if minor(bed.kubernetes) >= 35:  # AuthorizePodWebsocketUpgradeCreatePermission
        ways = replace(ways, websocket_verb="create")
    if minor(bed.kubelet) >= 36:  # ExtendWebSocketsToKubelet: the kubelet itself looks at the upgrade
        ways = replace(
            ways, not_upgraded=(400, r"unable to upgrade: header X-Stream-Protocol-Version does not exist .*\n")
        )
    return ways


def _crio(ways: Ways) -> Ways:
    """What its source says: no bed has it."""
    return replace(
        ways,
        refused=_FORWARDING
        + r'port forward into network namespace "[^"]+": failed to connect to localhost:{port} inside namespace \1: '
        r"dial tcp 127\.0\.0\.1:{port}: connect: connection refused",
        gone=_FORWARDING + r"(sandbox \1 is not running|PodSandbox with ID starting with \1 not found)",
    )


# What the embedded cluster does in each of its modes: as the bed with that runtime does.
PLAYED = {
    runtimes.CONTAINERD_1_6: _CONTAINERD,
    runtimes.CONTAINERD_2: _containerd_2(_CONTAINERD),
    runtimes.CRIO: _crio(_containerd_2(_CONTAINERD)),
    runtimes.DOCKERSHIM: _dockershim(_CONTAINERD),
}
