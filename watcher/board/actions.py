"""Does what a person asks of one forward: test it, open or copy its URL, read the log of its pod.

A test is one connection through the forward's own local port. The listener accepts every connection, so a test waits
for an answer from the pod: data, the end of the connection, or the container runtime's confirmation or refusal.
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable
from contextlib import aclosing, nullcontext
from urllib.parse import urlsplit

import trio

from forwarders.spec import without_count
from forwarders.system.terminals import open_url
from watcher.board.board import Board
from watcher.board.lines import printable
from watcher.board.records import ForwardRecord, ProbeRecord
from watcher.errors import WatcherError

# Seconds for a response, and for the runtime to confirm that it has the request for a connection. No runtime confirms
# that an application took it: a refusal arrives within so many seconds after that, or so many times what it took.
TEST_WITHIN, CONFIRMED_WITHIN = 5.0, 20.0
REFUSED_WITHIN, SLOWER = 3.0, 5.0
# The most of a first line that is shown, and that is read for it.
LONGEST_LINE, FIRST_BYTES = 200, 4096
# Log lines to show: more than most terminals have.
LOG_LINES = 100
# Seconds for the log to arrive.
LOG_WITHIN = 5.0


def is_valid_path(path: str) -> bool:
    """Whether a request line can contain this path."""
    return path.startswith("/") and path.isascii() and path.isprintable() and " " not in path


async def probe_forward(board: Board, record: ForwardRecord, path: str = "") -> ProbeRecord:
    """Opens one TCP connection; with a path it sends a GET and reads the first line of the response."""
    began = trio.current_time()
    if record.state != "ready" or not record.url:
        ok, answer, reason = False, "", f"it is {record.state}{f': {record.reason}' if record.reason else ''}"
    else:
        ok, answer, reason = await _exchange(board, record, path)
    return ProbeRecord(
        id=record.id,
        ok=ok,
        what="get" if path else "connect",
        answer=answer,
        reason=reason,
        seconds=round(trio.current_time() - began, 3),
    )


async def _exchange(board: Board, record: ForwardRecord, path: str) -> tuple[bool, str, str]:
    """Makes the connection. Returns whether the pod answers, how, and why not."""
    try:
        data, is_confirmed = await _answer(board, record, path)
    except (OSError, trio.BrokenResourceError):
        data, is_confirmed = b"", False
    if data == b"":
        counts = board.counters().get(record.id)
        return False, "", (counts.last_error if counts else "") or "the connection was closed without an answer"
    if data is None and (waiting := _refusal(board, record)):
        return False, "", waiting
    if not path:
        if not (data or is_confirmed):
            return False, "", f"the container runtime did not confirm the connection within {CONFIRMED_WITHIN:g} s"
        return True, f"the pod sent {len(data)} bytes" if data else "connected", ""
    if data is None:
        return False, "", f"no response within {TEST_WITHIN:g} s"
    line = printable(data.split(b"\n")[0].decode("latin-1").rstrip())[:LONGEST_LINE]
    return (True, line, "") if line.startswith("HTTP/") else (False, line, "this is not HTTP")


async def _answer(board: Board, record: ForwardRecord, path: str) -> tuple[bytes | None, bool]:
    """The pod's first bytes (None: nothing in time), and whether the runtime has confirmed the connection."""
    url, began, is_confirmed = urlsplit(record.url), trio.current_time(), False
    limit = trio.move_on_after(TEST_WITHIN if path else CONFIRMED_WITHIN)

    def confirmed() -> None:
        nonlocal is_confirmed
        if not is_confirmed:
            is_confirmed, now = True, trio.current_time()
            limit.deadline = min(limit.deadline, now + max(REFUSED_WITHIN, SLOWER * (now - began)))

    sock = trio.socket.socket(socket.AF_INET6 if ":" in (url.hostname or "") else socket.AF_INET)
    async with aclosing(trio.SocketStream(sock)) as stream:
        await sock.bind(("", 0))
        client_port = sock.getsockname()[1]
        with limit, nullcontext() if path else board.confirming(record.id, client_port, confirmed):
            await sock.connect((url.hostname, url.port))
            if path:
                await stream.send_all(_request(path, url.netloc))
            data = b""
            while more := await stream.receive_some(FIRST_BYTES):
                data += more
                if not path or b"\n" in data or len(data) >= FIRST_BYTES:
                    break
            return data, is_confirmed
    return None, is_confirmed


def _refusal(board: Board, record: ForwardRecord) -> str:
    """Why the connection still waits for the pod, "" if it does not."""
    counts, now = board.counters().get(record.id), board.forwards.get(record.id)
    reason = without_count(now.reason) if now else ""
    # While the next dial is under way the connection does not count as waiting, but the refusal is still the reason.
    if reason and reason != without_count(record.reason):
        return reason
    return (reason or "the connection waits for a pod") if counts and counts.held else ""


def _request(path: str, host: str) -> bytes:
    head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: portside\r\nAccept: */*\r\nConnection: close"
    return f"{head}\r\n\r\n".encode()


async def open_in_browser(record: ForwardRecord, open_page: Callable[[str], str] = open_url) -> str:
    """Opens the forward's page. Returns why that failed, "" if it is open."""
    problem = await trio.to_thread.run_sync(open_page, record.page, abandon_on_cancel=True)
    return f"{record.page} was not opened: {problem}" if problem else ""


def copy_sequence(url: str) -> bytes:
    """The escape sequence with which the terminal copies `url` to the clipboard (OSC 52)."""
    return b"\x1b]52;c;" + base64.b64encode(url.encode()) + b"\x07"


async def last_log_lines(board: Board, record: ForwardRecord) -> list[str]:
    """The last log lines of the pod that serves the forward, or one line that says why there are none."""
    if not record.pod:
        return [f"no pod serves {record.resource}: it is {record.state}"]
    try:
        with trio.fail_after(LOG_WITHIN):
            log = await board.pod_log(record, LOG_LINES)
    except trio.TooSlowError:
        return [f"the log of pod {record.pod} did not arrive within {LOG_WITHIN:g} s"]
    except WatcherError as error:
        return [f"the log of pod {record.pod} cannot be read: {error}"]
    return log.splitlines() or [f"the log of pod {record.pod} is empty"]
