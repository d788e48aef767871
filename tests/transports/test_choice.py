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
from forwarders.transports.opener import (
    DOUBTS,
    PAUSE,
    AttemptResult,
    Transport,
    TransportChoice,
    next_choice,
    result_of,
    tries_other,
)

SPDY, WEBSOCKET = Transport.SPDY, Transport.WEBSOCKET
WORKS, BARRED, DOUBTFUL, UNRELATED = (
    AttemptResult.WORKS,
    AttemptResult.BARRED,
    AttemptResult.DOUBTFUL,
    AttemptResult.UNRELATED,
)


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
def test_what_an_error_tells(error: TransportError, told: AttemptResult) -> None:
    """Rights and upgrades are the transport's; a pod, credentials and the network are not."""
    assert result_of(error) is told


@pytest.mark.parametrize(
    ("choice", "told", "other"),
    [
        (TransportChoice(), BARRED, True),
        (TransportChoice(), DOUBTFUL, True),
        (TransportChoice(), UNRELATED, False),
        (TransportChoice(proven=True), BARRED, True),
        (TransportChoice(proven=True), DOUBTFUL, False),
        (TransportChoice(proven=True, doubts=DOUBTS - 1), DOUBTFUL, True),
        (TransportChoice(proven=True, doubts=DOUBTS - 1), UNRELATED, False),
        (TransportChoice(pause=1), BARRED, False),
        (TransportChoice(pause=1), DOUBTFUL, False),
    ],
)
def test_when_the_other_is_tried_beside_it(choice: TransportChoice, told: AttemptResult, *, other: bool) -> None:
    """At once where this one is barred; one that has worked is doubted only after some failures."""
    assert tries_other(choice, told) is other


@pytest.mark.parametrize(
    ("choice", "told", "other", "now"),
    [
        (TransportChoice(doubts=2, pause=3), WORKS, None, TransportChoice(proven=True)),
        (TransportChoice(proven=True), UNRELATED, None, TransportChoice(proven=True)),
        (TransportChoice(proven=True), DOUBTFUL, None, TransportChoice(proven=True, doubts=1)),
        (TransportChoice(), BARRED, WORKS, TransportChoice(WEBSOCKET, proven=True)),
        (TransportChoice(WEBSOCKET, proven=True), BARRED, WORKS, TransportChoice(SPDY, proven=True)),
        (TransportChoice(), BARRED, BARRED, TransportChoice(pause=PAUSE)),
        (TransportChoice(), BARRED, DOUBTFUL, TransportChoice(pause=PAUSE)),
        (TransportChoice(), DOUBTFUL, BARRED, TransportChoice(doubts=1, pause=PAUSE)),
        (TransportChoice(), BARRED, UNRELATED, TransportChoice()),
        (TransportChoice(pause=3), BARRED, None, TransportChoice(pause=2)),
        (TransportChoice(pause=3), UNRELATED, None, TransportChoice(pause=3)),
    ],
)
def test_what_is_remembered(
    choice: TransportChoice, told: AttemptResult, other: AttemptResult | None, now: TransportChoice
) -> None:
    """The one that works; and for some tries that neither did."""
    assert next_choice(choice, told, other) == now


FAILURES = st.sampled_from([BARRED, DOUBTFUL, UNRELATED])


@given(st.lists(st.tuples(FAILURES, FAILURES), min_size=1, max_size=200), st.sampled_from(list(Transport)))
def test_failures_alone_never_change_the_transport(
    tries: list[tuple[AttemptResult, AttemptResult]], first: Transport
) -> None:
    """While nothing works the same one is tried first, and the other not more than once in PAUSE tries."""
    choice, since = TransportChoice(first), PAUSE
    for told, second in tries:
        other = second if tries_other(choice, told) else None
        if other in {BARRED, DOUBTFUL}:
            assert since >= PAUSE
            since = 0
        elif told is not UNRELATED:
            since += 1
        choice = next_choice(choice, told, other)
        assert choice.transport is first


@given(failures=st.lists(st.sampled_from([BARRED, DOUBTFUL]), min_size=PAUSE + DOUBTS + 1), proven=st.booleans())
def test_one_that_stopped_working_is_left_in_the_end(failures: list[AttemptResult], *, proven: bool) -> None:
    """However it fails, the other is tried after a bounded number of failures, and kept where it works."""
    choice = TransportChoice(proven=proven, pause=0 if proven else PAUSE)
    for told in failures:
        choice = next_choice(choice, told, WORKS if tries_other(choice, told) else None)
        if choice.transport is WEBSOCKET:
            break
    assert choice == TransportChoice(WEBSOCKET, proven=True)
