"""What each runtime's error texts prove, and the bounds that follow from the table of runtimes."""

from __future__ import annotations

import pytest

from forwarders.wire.runtimes import (
    DIAL_GRACE,
    MAX_TAKEN_FRAME,
    MOST_SWALLOWED,
    PAIR_ENDS_WITHIN,
    RUNTIMES,
    Meaning,
    meaning,
    says_refused,
    shape,
)

REFUSED, GONE, BROKEN, UNKNOWN = Meaning.REFUSED, Meaning.GONE, Meaning.BROKEN, Meaning.UNKNOWN
PREFIX = "error forwarding port 80 to pod 733a108b89a4b47462edcea5858781c8, uid : "
IN_NAMESPACE = 'failed to execute portforward in network namespace "/var/run/netns/cni-1": '
# As seen on containerd 1.6 to 2.4.2 and dockershim, as read in CRI-O.
TEXTS = [
    (
        'failed to connect to localhost:80 inside namespace "7", IPv4: dial tcp4 127.0.0.1:80: connect: connection '
        "refused IPv6 dial tcp6: address localhost: no suitable address found ",
        REFUSED,
    ),
    ("failed to connect to localhost:80 inside namespace: connect: network is unreachable", REFUSED),
    ("failed to dial 8080: dial tcp 127.0.0.1:8080: connect: connection refused", REFUSED),
    (
        'port forward into network namespace "/var/run/netns/1": failed to connect to localhost:80 inside namespace 7: '
        "dial tcp [::1]:80: connect: connection refused",
        REFUSED,
    ),
    (
        "exit status 1: 2026/11/28 19:24:46 socat[1] E connect(5, AF=2 127.0.0.1:7171, 16): Connection refused\n",
        REFUSED,
    ),
    (
        "exit status 1: 2026/11/28 19:24:46 socat[9] E connect(5, AF=2 127.0.0.1:80, 16): Network is unreachable",
        REFUSED,
    ),
    ("exit status 1: 2026/11/28 19:24:46 socat[9] E connect(, AF=2 127.0.0.1:80, 16): Connection timed out", REFUSED),
    ("unable to do port forwarding: socat not found", REFUSED),
    ("a runtime of next year: it says CONNECTION REFUSED, among others", REFUSED),
    ('network namespace for sandbox "abc" is closed', GONE),
    ('failed to find sandbox "abc" in store: not found', GONE),
    ("sandbox abc is not running", GONE),
    ("could not find sandbox abc", GONE),
    ("PodSandbox with ID starting with abc not found: ID does not exist", GONE),
    ("network namespace path of sandbox abc is empty", GONE),
    ('failed to Statfs "/var/run/netns/1": no such file or directory', GONE),
    ("unable to prepare portforward endpoint", GONE),
    ("container not running (cf5eb1ca14571d6f)", GONE),
    ('no such container: "cf5eb1ca14571d6f"', GONE),
    ("Error: No such container: cf5eb1ca14571d6f", GONE),
    ("exit status 1: nsenter: cannot open /proc/17/ns/net: No such file or directory", GONE),
    ("exit status 1: nsenter: reassociate to namespace 'ns/net' failed: Invalid argument", GONE),
    ("read tcp4 127.0.0.1:4->127.0.0.1:80: read: connection reset by peer", BROKEN),
    ("write tcp4 127.0.0.1:4->127.0.0.1:80: write: broken pipe", BROKEN),
    ("exit status 1: 2026/11/28 19:24:46 socat[1] E write(5, 0x1, 8192): Broken pipe", BROKEN),
    ("exit status 1: 2026/11/28 19:24:46 socat[1] E read(5, 0x1, 8192): Input/output error", BROKEN),
    ("timed out", UNKNOWN),
    ("", UNKNOWN),
]


@pytest.mark.parametrize("around", ["", PREFIX, PREFIX + IN_NAMESPACE])
@pytest.mark.parametrize(("text", "proves"), TEXTS)
def test_what_a_text_proves(text: str, proves: Meaning, around: str) -> None:
    """Whatever the layers above the runtime put before it."""
    assert meaning(around + text) is proves


def test_every_row_names_its_source_and_has_texts() -> None:
    """Each text of the table is known from some file, and each row has both kinds."""
    assert all(runtime.source and runtime.refused and runtime.gone for runtime in RUNTIMES)


def test_the_worst_runtime_sets_the_bounds() -> None:
    """A client that does not know the runtime waits as long, and trusts as little, as the worst of them needs."""
    for runtime in RUNTIMES:
        assert runtime.refuses_within < DIAL_GRACE
        assert runtime.ends_after < PAIR_ENDS_WITHIN
        assert runtime.swallows + MAX_TAKEN_FRAME <= MOST_SWALLOWED
    # Linux's pipe and the buffer of io.Copy, before a socat that dials in vain.
    assert MOST_SWALLOWED - MAX_TAKEN_FRAME >= 65536 + 32768


def test_the_words_of_a_refusal() -> None:
    """Go writes them small, C writes them large."""
    assert says_refused("connect: connection refused")
    assert says_refused("socat[1] E connect(5): Connection refused")
    assert not says_refused("No route to host")


def test_texts_of_one_kind_have_one_shape() -> None:
    """Numbers and identifiers do not count."""
    first = shape("port 80 of pod 733a108b89a4b474: who knows")
    assert first == shape("port 7171 of pod 0123456789abcdef01: who knows")
    assert first != shape("port 80 of pod 733a108b89a4b474: nobody knows")
