"""The reason for a failed dial is one line, for every container runtime."""

from __future__ import annotations

import pytest

from forwarders.backend import MAX_REASON, dial_reason
from forwarders.errors import DialError
from forwarders.spec import Endpoint, PodRef
from tests.forwarders.cluster import endpoint

# As Kubernetes 1.34 with containerd, CRI-O and socat (cri-dockerd) say it.
REFUSALS = [
    "error forwarding port 80 to pod 733a108b89a4b47462edcea5858781c84657a86924b66253ad76eeee94640f37, uid : failed to "
    'execute portforward in network namespace "/var/run/netns/cni-2ade790f-11b0": failed to '
    'connect to localhost:80 inside namespace "733a", IPv4: dial tcp4 127.0.0.1:80: connect: connection refused '
    "IPv6 dial tcp6: address localhost: no suitable address found ",
    'port forward into network namespace "/var/run/netns/1": failed to connect to localhost:80 inside namespace 7: '
    "dial tcp [::1]:80: connect: connection refused",
    "exit status 1: 2026/11/28 19:24:46 socat[1] E connect(5, AF=2 127.0.0.1:80, 16): Connection refused\n",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_nothing_listens(text: str) -> None:
    """The same line for each of the runtimes."""
    assert dial_reason(endpoint("a"), DialError(text)) == "nothing listens on 80 in pod a: connection refused"


def test_other_causes_keep_their_words() -> None:
    """One line; a long text loses its beginning; a sandbox that is gone is reported as ended."""
    assert (
        dial_reason(endpoint("a"), DialError("x\n y: no route to host"))
        == "no connection to 80 in pod a: x y: no route to host"
    )
    long = dial_reason(endpoint("a"), DialError("x" * 1000 + ": no route to host"))
    assert long.endswith(": no route to host")
    assert len(long) <= MAX_REASON + 40
    gone = DialError("network namespace is closed", sandbox_gone=True)
    assert dial_reason(endpoint("a"), gone) == "pod a has ended: network namespace is closed"
    container = Endpoint(PodRef("", "db", "", "172.17.0.2"), 5432, ready=True)
    refused = DialError("connection to 172.17.0.2:5432: Connection refused")
    assert dial_reason(container, refused) == "nothing listens on 5432 in container db: connection refused"
