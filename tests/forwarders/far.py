"""A session's channel over a long way: whatever goes in at one end comes out later at the other, in order."""

from __future__ import annotations

import trio

from tests.forwarders.peer_channel import PeerChannel


class FarChannel:
    """`delay`: seconds each way. The bytes travel in `nursery`."""

    def __init__(self, near: PeerChannel, delay: float, nursery: trio.Nursery) -> None:
        self._near = near
        self._delay = delay
        self._out, out = trio.open_memory_channel[tuple[float, bytes]](10_000)
        into, self._into = trio.open_memory_channel[tuple[float, bytes]](10_000)
        nursery.start_soon(self._carry_out, out)
        nursery.start_soon(self._carry_in, into)

    async def receive(self) -> bytes:
        at, data = await self._into.receive()
        await trio.sleep_until(at)
        return data

    def put(self, data: bytes | memoryview) -> bool:
        self._out.send_nowait((trio.current_time() + self._delay, bytes(data)))
        return True

    async def flush(self) -> None:
        await trio.lowlevel.checkpoint()

    async def send(self, data: bytes | memoryview) -> None:
        self.put(data)
        await self.flush()

    def close(self) -> None:
        self._near.close()

    async def _carry_out(self, out: trio.MemoryReceiveChannel[tuple[float, bytes]]) -> None:
        async for at, data in out:
            await trio.sleep_until(at)
            try:
                await self._near.send(data)
            except (OSError, trio.ClosedResourceError):
                return

    async def _carry_in(self, into: trio.MemorySendChannel[tuple[float, bytes]]) -> None:
        data = b"?"
        while data:
            try:
                data = await self._near.receive()
            except (OSError, trio.ClosedResourceError):
                data = b""
            into.send_nowait((trio.current_time() + self._delay, data))
