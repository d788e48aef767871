"""Every target of `scripts/fuzz` stands its seeds and hypothesis' bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.fuzzing.seeds import SEEDS
from fixtures.fuzzing.targets import TARGETS
from forwarders.wire.connection import Connection
from forwarders.wire.streams import StreamAccepted, StreamEnded


def test_every_target_has_seeds() -> None:
    """A search that began with nothing would end there."""
    assert SEEDS.keys() == TARGETS.keys()
    assert all(SEEDS.values())


@pytest.mark.parametrize(("target", "data"), [(name, seed) for name, seeds in SEEDS.items() for seed in seeds])
def test_seeds(target: str, data: bytes) -> None:
    """Good conversations pass."""
    TARGETS[target](data)


def test_the_seeds_are_good_conversations() -> None:
    """The server's side of the connection's seed is understood to its end, not refused at its first byte."""
    client = Connection("client")
    for _ in range(3):
        client.open_stream(())
    events = client.receive_data(SEEDS["connection"][1][1:])
    assert events[:2] == [StreamAccepted(1), StreamAccepted(3)]
    assert events[-1] == StreamEnded(5)


@pytest.mark.parametrize("target", TARGETS)
@given(data=st.binary(max_size=200))
def test_any_bytes(target: str, data: bytes) -> None:
    """Bytes of any kind raise nothing but the decoder's own error, stay in its bounds, and may be cut anywhere."""
    TARGETS[target](data)
