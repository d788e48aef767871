"""The command `portside mcp`: a Model Context Protocol server on stdin and stdout, made with the official SDK."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import click

from watcher.cli import logs
from watcher.cli.options import choosing
from watcher.errors import UsageError, WatcherError

if TYPE_CHECKING:
    from mcp.server import MCPServer

    from watcher.cli.agent_tools import AgentTools

EPILOG = """\b
Examples:
  portside mcp --folder ../shop
  In .mcp.json:
  {"mcpServers": {"portside": {"command": "portside", "args": ["mcp"]}}}

It needs the extra: pip install 'portside[mcp]'. It asks the portsides of this folder
through their status addresses, and changes nothing.
"""

INSTRUCTIONS = (
    "portside keeps local ports that reach the pods of a Kubernetes project while Skaffold builds and deploys it. "
    "After you edit files of the project, call wait_until_saved_is_served: it returns when the new code answers on the "
    "local ports, or with the error of the build or deploy. list_forwards has the URLs."
)


@click.command(name="mcp", epilog=EPILOG)
@choosing
def mcp_command(pid: int | None, folder: str | None) -> int:
    """Serve the forwards that run here to agents (Model Context Protocol)."""
    try:
        import mcp.server  # noqa: F401 - is the extra installed?
    except ImportError:
        raise UsageError("the extra is not installed: pip install 'portside[mcp]'") from None
    import anyio

    from watcher.cli.agent_tools import AgentTools
    from watcher.cli.instances import InstanceFilter

    logs.set_up(0)
    anyio.run(server_for(AgentTools(InstanceFilter(pid, folder))).run_stdio_async, backend="trio")
    return 0


def server_for(tools: AgentTools) -> MCPServer[None]:
    """The server with all tools."""
    from mcp.server import MCPServer
    from mcp_types import ToolAnnotations

    server: MCPServer[None] = MCPServer(
        "portside", instructions=INSTRUCTIONS, version=version("portside"), log_level="WARNING"
    )
    for tool in tools.all:
        server.add_tool(_with_plain_errors(tool), annotations=ToolAnnotations(read_only_hint=True))
    return server


def _with_plain_errors(tool: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Expected errors become the tool's answer, with their message; anything else is a bug."""
    from mcp.server.mcpserver.exceptions import ToolError

    @functools.wraps(tool)
    async def run(*arguments: Any, **named: Any) -> Any:
        try:
            return await tool(*arguments, **named)
        except WatcherError as error:
            raise ToolError(str(error)) from error

    return run
