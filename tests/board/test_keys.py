"""The table's keys: how terminal input is decoded, what each key changes, and which action it starts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.board.made import forward
from tests.board.test_table import bare
from watcher.board.actions import copy_sequence, last_log_lines
from watcher.board.board import Board
from watcher.board.layout import Canvas
from watcher.board.records import ForwardRecord
from watcher.board.runtime_files import About
from watcher.board.screen import Screen, decode_keys
from watcher.board.table import ACTS, HELP, MESSAGE, Act, TableAction, TableView
from watcher.errors import WatcherError

ABOUT = About(pid=1, url="http://127.0.0.1:1", command="watch", folder="/shop", context="here", namespace="default")


class Player:
    """A table with keys. `records`: its forwards."""

    def __init__(self, *records: ForwardRecord, height: int = 24) -> None:
        self.board = Board(ABOUT)
        for record in records:
            self.board.publish(record)
        self.view = TableView(self.board, keys=True)
        self.view.take(records, 0.0)
        self._height = height
        self.lines()

    def press(self, *keys: str) -> TableAction | None:
        """The action of the last key."""
        action = None
        for key in keys:
            action = self.view.press(key, 5.0)
            self.lines()
        return action

    def lines(self, now: float = 5.0) -> list[str]:
        return bare(self.view.frame(Canvas(120), self._height, now))

    def names(self) -> list[str]:
        return [line.split(":")[0].removeprefix("svc/") for line in self.lines() if line.startswith("svc/")]

    @property
    def selected(self) -> str:
        lines = self.view.frame(Canvas(120), self._height, 5.0)
        return next((bare([line])[0].split(":")[0].removeprefix("svc/") for line in lines if "\x1b[7m" in line), "")


def some(count: int) -> list[ForwardRecord]:
    return [forward(f"s{number:02}", url=f"http://127.0.0.1:{8000 + number}") for number in range(count)]


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"/w\r", ["/", "w", "enter"]),
        (b"\x1b[A\x1b[B\x1bOA", ["up", "down", "up"]),
        (b"\x1b[5~\x1b[6~\x1b[H\x1b[F", ["pageup", "pagedown", "home", "end"]),
        (b"\x1b", ["escape"]),
        (b"\x7f\x08", ["backspace", "backspace"]),
        ("ü".encode(), ["ü"]),
        (b"\x1b[1;5C\x01\xff", []),
        (b"\x1b[", []),
    ],
)
def test_what_a_terminal_sends(data: bytes, keys: list[str]) -> None:
    """Characters and the names of other keys; what means nothing here is ignored."""
    assert [*decode_keys(data)] == keys


@given(st.binary(max_size=40))
def test_any_bytes_are_keys(data: bytes) -> None:
    """Whatever is pasted: the table stays whole, and each action is about a forward."""
    player = Player(*some(3), height=8)
    for key in decode_keys(data):
        action = player.view.press(key, 5.0)
        assert action is None or action.record.resource_name in {"s00", "s01", "s02"}
        assert len(player.lines()) <= 7


def test_arrows_select_and_scroll() -> None:
    """The selected row is always visible; the position says where that is."""
    player = Player(*some(30), height=10)
    assert player.selected == ""
    assert player.lines()[-1] == "1-6 of 30"
    player.press("down")
    assert player.selected == "s00"
    player.press(*["j"] * 8)
    assert player.selected == "s08"
    assert player.names() == ["s03", "s04", "s05", "s06", "s07", "s08"]
    player.press("up", "up")
    assert (player.selected, player.names()[0]) == ("s06", "s03")
    player.press("end")
    assert (player.selected, player.lines()[-1]) == ("s29", "25-30 of 30")
    player.press("home")
    assert (player.selected, player.names()[0]) == ("s00", "s00")
    player.press("escape")
    assert player.selected == ""


def test_a_filter_is_typed_seen_kept_and_ended() -> None:
    """By name, namespace, state, address, pod or reason, in any case; letters that are keys are letters there."""
    player = Player(forward("web"), forward("api", namespace="SHOP"), forward("db", "failed", reason="taken", url=""))
    player.press("/", "s", "h", "o")
    assert player.names() == ["api"]
    assert "filter: sho_" in player.lines()
    player.press("backspace", "backspace", "backspace", "o", "l", "r", "y", "?")
    assert "nothing matches" in player.lines()
    player.press("escape")
    assert len(player.names()) == 3
    player.press("/", "t", "a", "k", "enter")
    assert player.names() == ["db"]
    assert "filter: tak" in player.lines()
    player.press("escape")
    assert len(player.names()) == 3


def test_keys_ask_for_something_about_the_selected_forward() -> None:
    """With one row it needs no selection; with several it does."""
    player = Player(*some(2))
    assert player.press("o") is None
    assert "select a forward first, with ↑ and ↓" in player.lines()
    assert "select a forward first, with ↑ and ↓" not in player.lines(5.0 + MESSAGE)
    player.press("down", "down")
    for key, act in {"o": "open", "y": "copy", "r": "retry", "l": "log"}.items():
        action = player.press(key)
        assert action is not None
        assert (action.act, action.record.resource_name) == (act, "s01")
    assert Player(*some(1)).press("y") is not None


def test_help_and_logs_stand_instead_of_the_rows() -> None:
    """Until the next key, whichever; what does not fit is the beginning."""
    player = Player(*some(2))
    assert player.lines()[0].endswith(", ? for keys")
    player.press("?")
    assert player.lines()[1:] == list(HELP)
    player.press("o")
    assert player.names() == ["s00", "s01"]
    small = Player(*some(2), height=5)
    small.view.show([f"line {number}" for number in range(9)])
    assert small.lines()[1:] == ["line 6", "line 7", "line 8"]


def test_the_last_frame_has_every_forward_and_no_keys() -> None:
    """When portside ends, nothing of selection, filter and help stays on the terminal."""
    player = Player(*some(2))
    player.press("down", "/", "s", "0", "1", "enter", "?")
    player.view.reset()
    assert (player.names(), player.selected) == (["s00", "s01"], "")
    assert not [line for line in player.lines() if "filter" in line or "? for keys" in line]


def test_what_is_copied_is_the_url() -> None:
    """OSC 52 has it in base64, so nothing in it can steer the terminal."""
    assert copy_sequence("http://127.0.0.1:80") == b"\x1b]52;c;aHR0cDovLzEyNy4wLjAuMTo4MA==\x07"


async def test_nothing_to_open() -> None:
    """A forward without a URL gives a message."""
    for act in ACTS.values():
        if act in {"open", "copy"}:
            assert await done(act, forward(state="failed", url="")) == "service/web has no URL: it is failed"


async def test_the_page_that_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of `open` in portside.yaml follows the URL, which is that by name if there is a gateway."""
    monkeypatch.setenv("BROWSER", "true")
    assert await done("open", forward(open_path="/admin")) == "opened http://127.0.0.1:8080/admin"
    named = forward(gateway="http://web.localhost:8000/", open_path="/admin")
    assert await done("open", named) == "opened http://web.localhost:8000/admin"
    monkeypatch.setenv("BROWSER", "false")
    assert await done("open", forward()) == "http://127.0.0.1:8080/ was not opened: false ended with exit code 1"


async def done(act: Act, record: ForwardRecord) -> str:
    """The message of this action."""
    return await Screen(Board(), 0, colour=False)._done(TableAction(act, record))


async def test_the_log_of_the_pod_that_serves() -> None:
    """Its lines, or one line that says why there are none."""

    async def log(record: ForwardRecord, lines: int) -> str:
        if record.pod == "silent":
            return ""
        if record.pod == "secret":
            raise WatcherError("cannot get pods/log web-6c: forbidden (403)")
        return f"of {record.pod}\nlast line\n"

    board = Board(pod_log=log)
    assert await last_log_lines(board, forward()) == ["of web-6c", "last line"]
    assert await last_log_lines(board, forward(pod="silent")) == ["the log of pod silent is empty"]
    assert (await last_log_lines(board, forward(pod="secret")))[0].startswith("the log of pod secret cannot be read: ")
    waits = await last_log_lines(board, forward("api", "listening", pod=""))
    assert waits == ["no pod serves service/api: it is listening"]
    assert "there is no cluster" in (await last_log_lines(Board(), forward()))[0]
