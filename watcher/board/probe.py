"""Tests one forward: a single connection through its own local port, and what comes back.

The listener accepts every connection, so a test waits for an answer from the pod: data, a refusal of the container
runtime, or the end of the connection.
"""

from __future__ import annotations

from contextlib import aclosing
from urllib.parse import urlsplit

import trio

from forwarders.spec import without_count
from watcher.board.board import Board
from watcher.board.lines import printable
from watcher.board.records import ForwardRecord, ProbeRecord

# Seconds for the whole test; and for a refusal to arrive after a connect, which no runtime confirms. The forward itself
# shows a refusal half a second after it began.
TEST_WITHIN, REFUSED_WITHIN = 5.0, 1.5
# The most of a first line that is shown, and that is read for it.
LONGEST_LINE, FIRST_BYTES = 200, 4096


def is_valid_path(path: str) -> bool:
    """Whether the path can stand in a request line."""
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
    """Whether the pod answers, how, and why not."""
    host, port = urlsplit(record.url).hostname or "", record.local_port
    data: bytes | None = None
    try:
        with trio.move_on_after(TEST_WITHIN if path else REFUSED_WITHIN):
            async with aclosing(await trio.open_tcp_stream(host, port)) as stream:
                if path:
                    await stream.send_all(_request(path, host, port))
                data = bytes(await stream.receive_some(FIRST_BYTES))
                while path and data and b"\n" not in data and len(data) < FIRST_BYTES:
                    if not (more := await stream.receive_some(FIRST_BYTES)):
                        break
                    data += more
    except (OSError, trio.BrokenResourceError):
        data = b""
    if data == b"":
        counts = board.counters().get(record.id)
        return False, "", (counts.last_error if counts else "") or "the connection was closed without an answer"
    if data is None and (waiting := _refusal(board, record)):
        return False, "", waiting
    if not path:
        return True, f"the pod sent {len(data)} bytes" if data else "connected", ""
    if data is None:
        return False, "", f"no response within {TEST_WITHIN:g} s"
    line = printable(data.split(b"\n")[0].decode("latin-1").rstrip())[:LONGEST_LINE]
    return (True, line, "") if line.startswith("HTTP/") else (False, line, "this is not HTTP")


def _refusal(board: Board, record: ForwardRecord) -> str:
    """Why the connection still waits for the pod, "" if it does not."""
    counts, now = board.counters().get(record.id), board.forwards.get(record.id)
    if counts is None or not counts.held:
        return ""
    return without_count(now.reason) if now and now.reason else "the connection waits for a pod"


def _request(path: str, host: str, port: int) -> bytes:
    name = f"[{host}]" if ":" in host else host
    head = f"GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nUser-Agent: portside\r\nAccept: */*\r\nConnection: close"
    return f"{head}\r\n\r\n".encode()
