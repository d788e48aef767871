"""The table: which transport is tried, which beside it, and what is remembered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarders.errors import (
    BrokenOffError,
    ForbiddenError,
    GatewayError,
    ProxyError,
    RefusedError,
    TransportError,
    UnreachableError,
    UpgradeError,
)
from forwarders.transports.choice import DOUBTS, PAUSE, Choice, Transport, Verdict, after, tries_other, verdict

SPDY, WEBSOCKET = Transport.SPDY, Transport.WEBSOCKET
WORKS, BARRED, DOUBTFUL, UNRELATED = Verdict.WORKS, Verdict.BARRED, Verdict.DOUBTFUL, Verdict.UNRELATED


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ForbiddenError("no", "create", "ann"), BARRED),
        (UpgradeError("no", 400), BARRED),
        (GatewayError("no", 502), DOUBTFUL),
        (BrokenOffError("no"), DOUBTFUL),
        (RefusedError("pod not found", 500), UNRELATED),
        (RefusedError("who", 401), UNRELATED),
        (ProxyError("no"), UNRELATED),
        (UnreachableError("no"), UNRELATED),
        (TransportError("no"), UNRELATED),
    ],
)
def test_what_an_error_tells(error: TransportError, told: Verdict) -> None:
    """Rights and upgrades are the transport's; a pod, credentials and the network are not."""
    assert verdict(error) is told


@pytest.mark.parametrize(
    ("choice", "told", "other"),
    [
        (Choice(), BARRED, True),
        (Choice(), DOUBTFUL, True),
        (Choice(), UNRELATED, False),
        (Choice(proven=True), BARRED, True),
        (Choice(proven=True), DOUBTFUL, False),
        (Choice(proven=True, doubts=DOUBTS - 1), DOUBTFUL, True),
        (Choice(proven=True, doubts=DOUBTS - 1), UNRELATED, False),
        (Choice(pause=1), BARRED, False),
        (Choice(pause=1), DOUBTFUL, False),
    ],
)
def test_when_the_other_is_tried_beside_it(choice: Choice, told: Verdict, *, other: bool) -> None:
    """At once where this one is barred; one that has worked is doubted only after some failures."""
    assert tries_other(choice, told) is other


@pytest.mark.parametrize(
    ("choice", "told", "other", "now"),
    [
        (Choice(doubts=2, pause=3), WORKS, None, Choice(proven=True)),
        (Choice(proven=True), UNRELATED, None, Choice(proven=True)),
        (Choice(proven=True), DOUBTFUL, None, Choice(proven=True, doubts=1)),
        (Choice(), BARRED, WORKS, Choice(WEBSOCKET, proven=True)),
        (Choice(WEBSOCKET, proven=True), BARRED, WORKS, Choice(SPDY, proven=True)),
        (Choice(), BARRED, BARRED, Choice(pause=PAUSE)),
        (Choice(), BARRED, DOUBTFUL, Choice(pause=PAUSE)),
        (Choice(), DOUBTFUL, BARRED, Choice(doubts=1, pause=PAUSE)),
        (Choice(), BARRED, UNRELATED, Choice()),
        (Choice(pause=3), BARRED, None, Choice(pause=2)),
        (Choice(pause=3), UNRELATED, None, Choice(pause=3)),
    ],
)
def test_what_is_remembered(choice: Choice, told: Verdict, other: Verdict | None, now: Choice) -> None:
    """The one that works; and for some tries that neither did."""
    assert after(choice, told, other) == now


FAILURES = st.sampled_from([BARRED, DOUBTFUL, UNRELATED])


@given(st.lists(st.tuples(FAILURES, FAILURES), min_size=1, max_size=200), st.sampled_from(list(Transport)))
def test_failures_alone_never_change_the_transport(tries: list[tuple[Verdict, Verdict]], first: Transport) -> None:
    """While nothing works the same one is tried first, and the other not more than once in PAUSE tries."""
    choice, since = Choice(first), PAUSE
    for told, second in tries:
        other = second if tries_other(choice, told) else None
        if other in {BARRED, DOUBTFUL}:
            assert since >= PAUSE
            since = 0
        elif told is not UNRELATED:
            since += 1
        choice = after(choice, told, other)
        assert choice.transport is first


@given(failures=st.lists(st.sampled_from([BARRED, DOUBTFUL]), min_size=PAUSE + DOUBTS + 1), proven=st.booleans())
def test_one_that_stopped_working_is_left_in_the_end(failures: list[Verdict], *, proven: bool) -> None:
    """However it fails, the other is tried after a bounded number of failures, and kept where it works."""
    choice = Choice(proven=proven, pause=0 if proven else PAUSE)
    for told in failures:
        choice = after(choice, told, WORKS if tries_other(choice, told) else None)
        if choice.transport is WEBSOCKET:
            break
    assert choice == Choice(WEBSOCKET, proven=True)
