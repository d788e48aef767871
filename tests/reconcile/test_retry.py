"""Retrying a failed forward: what is started again, and what is left alone."""

from __future__ import annotations

import trio

from forwarders.spec import State
from tests.board.playing import Play, Said


async def test_a_forward_that_could_not_be_bound_is_started_again() -> None:
    """Its id never ends; one that works, or is open and waits for something else, is not touched."""
    play = Play()
    await play.plan({"a": Said("wanted"), "b": Said("wanted")})
    play.fleet.fails("a", "port 9970 is taken")
    play.fleet.becomes("b", State.READY)
    subscription = play.board.subscribe()
    await subscription.receive()
    assert play.board.retry("a") == ""
    assert play.board.retry("b") == "it is ready; portside tries again by itself when something changes"
    assert play.board.retry("nothing") == "there is no such forward"
    await play.plan({"a": Said("wanted"), "b": Said("wanted")})
    assert play.forwards["a"][0] == "listening"
    states = [(getattr(r, "id", ""), getattr(r, "state", "")) for r in await subscription.receive()]
    assert states == [("a", "listening")]


async def test_a_forward_that_is_wanted_no_more_is_not_started_again() -> None:
    """The plan may have changed between the question and the retry."""
    play = Play()
    await play.plan({"a": Said("wanted")})
    play.fleet.fails("a", "port 9970 is taken")
    assert play.board.retry("a") == ""
    await play.plan({})
    assert not play.board.forwards
    assert not play.fleet.running
    await trio.lowlevel.checkpoint()
