"""Fetches a page through a forward, on one new connection over a real socket."""

from __future__ import annotations

import trio


async def page(port: int, patience: float) -> str:
    """The content of a GET on one new connection. Does not wait for the connection's end, which is a second later."""
    answer = b""
    with trio.fail_after(patience):
        async with await trio.open_tcp_stream("127.0.0.1", port) as conn:
            await conn.send_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            while b"\npod " not in answer:
                data = await conn.receive_some()
                assert data, f"the answer ended after {answer!r}"
                answer += data
    return answer.decode().partition("\r\n\r\n")[2].partition("\n")[0]
