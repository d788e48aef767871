"""An agent: the SDK's own client, with `portside mcp` as its server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.process import PORTSIDE

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

from mcp import Client, StdioServerParameters

Answer = dict[str, Any]


class Agent:
    """Calls tools. `call` fails the test for an error, `error` for anything else."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def call(self, tool: str, **arguments: object) -> Answer:
        with trio.fail_after(120):
            result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result
        answer: Answer = json.loads(json.dumps(result.structured_content))
        return answer

    async def error(self, tool: str, **arguments: object) -> str:
        with trio.fail_after(120):
            result = await self.client.call_tool(tool, arguments)
        assert result.is_error, result
        [content] = result.content
        return str(getattr(content, "text", content))


@asynccontextmanager
async def agent(environment: Mapping[str, str], folder: Path) -> AsyncIterator[Agent]:
    server = StdioServerParameters(command=PORTSIDE, args=["mcp"], env=dict(environment), cwd=folder)
    async with Client(server) as client:
        yield Agent(client)
