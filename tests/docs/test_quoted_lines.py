"""The code prints every line that docs/troubleshooting.md quotes: a producer in `quoted` makes it do so.

A new quote needs a producer.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.docs.quoted import api_server, connections, plan, skaffold
from tests.docs.quoted.scene import Scene

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
QUOTES = re.findall(r"^> (.+)$", PAGE.read_text(), re.MULTILINE)

PRODUCERS = (*skaffold.PRODUCERS, *api_server.PRODUCERS, *plan.PRODUCERS, *connections.PRODUCERS)
# These talk to a real process or wait for a thread, so the mock clock does not apply.
REAL_TIME = {
    connections.not_seen,
    api_server.unreachable,
    api_server.edited_kubeconfig,
    skaffold.broken_edit,
    skaffold.needs_skaffold,
    plan.taken,
    plan.reserved,
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the code prints, by producer; the producer's error if it failed."""
    texts: dict[str, str] = {}
    for produce in PRODUCERS:
        clock = None if produce in REAL_TIME else MockClock(autojump_threshold=0)
        scene = Scene(tmp_path_factory.mktemp(produce.__name__))
        with scene.logging():
            try:
                texts[produce.__name__] = trio.run(produce, scene, clock=clock)
            except Exception as error:  # noqa: BLE001 - fails only the quotes that need it
                texts[produce.__name__] = f"{produce.__name__} failed: {error!r}"
    return texts


def pattern(quote: str) -> re.Pattern[str]:
    """The quote's words in their order on one line, with any text for each `…`."""
    return re.compile(".+".join(re.escape(part) for part in quote.split("…") if part))


@pytest.mark.parametrize("quote", QUOTES)
def test_what_is_quoted_is_printed(quote: str, printed: dict[str, str]) -> None:
    """One of the producers prints each quote."""
    assert any(pattern(quote).search(text) for text in printed.values()), printed


@pytest.mark.parametrize("produce", PRODUCERS)
def test_what_is_produced_is_quoted(produce: Callable[[Scene], Awaitable[str]], printed: dict[str, str]) -> None:
    """The page quotes what each producer prints, and none failed."""
    text = printed[produce.__name__]
    assert any(pattern(quote).search(text) for quote in QUOTES), text
