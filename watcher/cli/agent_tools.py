"""The tools that `portside mcp` offers to a coding agent: they ask the portsides that run here, and wait for forwards.

The tools use the status addresses, as every program of this user may, and change nothing. The docstring of each tool is
what the agent reads. The official SDK serves them by the Model Context Protocol (`server_for`).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
import trio

from watcher.board import runtime_files
from watcher.board.actions import CONFIRMED_WITHIN, is_valid_path
from watcher.board.readiness import ForwardQuery, parse_forward_query
from watcher.board.records import CountedForward, ExplainRecord, ProbeRecord, Record, SkaffoldRecord
from watcher.board.runtime_files import Instance
from watcher.cli.instances import TIMEOUT, InstanceFilter, request_json
from watcher.cli.options import NOTICE_WITHIN, READY_WITHIN
from watcher.cli.readiness_wait import ReadinessWait
from watcher.errors import WatcherError

if TYPE_CHECKING:
    from mcp.server import MCPServer

logger = logging.getLogger("portside.mcp")

INSTRUCTIONS = (
    "portside keeps local ports that reach the pods of a Kubernetes project while Skaffold builds and deploys it. "
    "After you edit files of the project, call wait_until_saved_is_served: it returns when the new code answers on the "
    "local ports, or with the error of the build or deploy. list_forwards has the URLs."
)

Answer = dict[str, Any]


class AgentTools:
    """Tools about the portsides that `instances` selects; by default those of this folder. They raise WatcherError."""

    def __init__(self, instances: InstanceFilter) -> None:
        self._instances = instances

    @property
    def all(self) -> tuple[Callable[..., Any], ...]:
        """All tools. The agent sees the name and the docstring of each method."""
        return (
            self.wait_until_saved_is_served,
            self.wait_until_ready,
            self.list_forwards,
            self.explain,
            self.test_forward,
            self.recent_changes,
            self.doctor,
        )

    async def wait_until_saved_is_served(
        self, names: list[str] | None = None, timeout: float = READY_WITHIN, notice_within: float = NOTICE_WITHIN
    ) -> Answer:
        """Wait until the files that were saved so far are built, deployed and answer. Call it after each edit.

        It follows Skaffold's dev loop: it waits for the iteration that contains the last save, then for the forwards.
        If a build or deploy fails, `served` is false and `problems` has Skaffold's error. If nothing was changed, it
        returns after `notice_within` seconds, the time that Skaffold may take to notice a save.
        `names`: TYPE/NAME[:PORT] of the forwards that must be ready; without names all.
        """
        problems, served = await self._wait(names, timeout, notice_within)
        return {"served": not problems, "problems": problems, "iterations": [] if problems else served}

    async def wait_until_ready(self, names: list[str] | None = None, timeout: float = READY_WITHIN) -> Answer:
        """Wait until forwards are ready; returns at once if they are, or if waiting longer cannot help.

        `names`: TYPE/NAME[:PORT], such as svc/web or deploy/api:8080; without names all forwards.
        `timeout`: seconds. If `ready` is false, `problems` has a line for each thing that is not ready.
        """
        problems, _ = await self._wait(names, timeout, None)
        return {"ready": not problems, "problems": problems}

    async def list_forwards(self) -> Answer:
        """List the local ports that reach pods: URL, state, reason, kube-context, traffic; and Skaffold's phase.

        A forward works if its state is "ready". "listening": connections wait for a pod; `reason` says why.
        """
        portsides = []
        for one in self._selected():
            forwards = await _request(one, "/v1/forwards", list[CountedForward])
            skaffold = await _request(one, "/v1/skaffold", SkaffoldRecord | None)
            about = {"pid": one.pid, "command": one.command, "folder": one.folder, "context": one.context}
            portsides.append({**about, "skaffold": _plain(skaffold), "forwards": _plain(forwards)})
        return {"portsides": portsides}

    async def explain(self, name: str = "") -> Answer:
        """Explain for each service, container and entry whether it is forwarded, and which rule decided.

        `name`: TYPE/NAME such as svc/web, to explain only that.
        """
        query = parse_forward_query(name) if name else None
        verdicts: list[ExplainRecord] = []
        for one in self._selected():
            verdicts += await _request(one, "/v1/explain", list[ExplainRecord])
        return {"verdicts": _plain([one for one in verdicts if query is None or query.names(one)])}

    async def test_forward(self, name: str, path: str = "") -> Answer:
        """Open one connection through a forward, and return what the pod or its container runtime answers.

        `name`: TYPE/NAME[:PORT] of one forward. `path`: send GET for it, such as /healthz; without it the connection
        is only opened. `answer` is the response's first line; if `ok` is false, `reason` says why.
        """
        if path and not is_valid_path(path):
            raise WatcherError(f"{path!r}: a path begins with / and is ASCII without spaces")
        instance, forward = await self._one_forward(parse_forward_query(name))
        question = urlencode({"id": forward.id, **({"path": path} if path else {})})
        # Tests wait for one another, eight at once.
        result = await _request(instance, f"/v1/test?{question}", ProbeRecord, 2 * CONFIRMED_WITHIN + TIMEOUT, "POST")
        return {"url": forward.url, **_plain(result)}

    async def recent_changes(self, name: str = "", count: int = 50) -> Answer:
        """The last changes of forwards, skips and Skaffold's phase, newest first, each with its time.

        `name`: TYPE/NAME[:PORT], for the changes of one forward. `count`: at most so many of each portside.
        """
        if name:
            instance, forward = await self._one_forward(parse_forward_query(name))
            asked = [(instance, f"/v1/changes?{urlencode({'id': forward.id})}")]
        else:
            asked = [(instance, "/v1/changes") for instance in self._selected()]
        changes: list[Record] = []
        for instance, path in asked:
            changes += (await _request(instance, path, list[Record]))[: max(count, 0)]
        return {"changes": _plain(changes)}

    async def doctor(self) -> Answer:
        """Check kubeconfig, permissions, transport, Skaffold, configuration and ports. Each finding has its remedy."""
        from watcher.cli.collected import Place
        from watcher.cli.option_values import environment
        from watcher.cli.utility_commands import doctor_checks
        from watcher.doctor import examine, failed

        running = self._instances.select_or_here(runtime_files.running_instances())
        skaffold = next((one.skaffold for one in running if one.skaffold), "")
        findings = await examine(doctor_checks(Place("", "", "", (), (), ()), skaffold, environment()))
        return {"ok": not failed(findings), "findings": _plain(findings)}

    async def _wait(
        self, names: list[str] | None, timeout: float, notice_within: float | None
    ) -> tuple[list[str], list[str]]:
        """Waits for forwards; returns what is not ready, and a line for each iteration of Skaffold that is served."""
        queries = [parse_forward_query(name) for name in names or ()]
        notice = None if notice_within is None else _seconds(notice_within)
        wait = ReadinessWait(queries, self._instances, logger.info, notice)
        return list(await wait.run(_seconds(timeout))), wait.served

    def _selected(self) -> list[Instance]:
        running = runtime_files.running_instances()
        if selected := self._instances.select_or_here(running):
            return selected
        raise WatcherError(self._instances.no_match(running))

    async def _one_forward(self, query: ForwardQuery) -> tuple[Instance, CountedForward]:
        found: list[tuple[Instance, CountedForward]] = []
        for one in self._selected():
            forwards = await _request(one, "/v1/forwards", list[CountedForward])
            found += [(one, forward) for forward in forwards if query.matches(forward)]
        if not found:
            raise WatcherError(f"{query.word} is not forwarded; explain tells why")
        if len(found) > 1:
            several = ", ".join(f"{forward.resource}:{forward.remote_port} at {forward.url}" for _, forward in found)
            raise WatcherError(f"{query.word} means several forwards: {several}; name one with its port")
        return found[0]


async def _request(one: Instance, path: str, kind: Any, timeout: float = TIMEOUT, method: Any = "GET") -> Any:
    return await trio.to_thread.run_sync(request_json, one, path, kind, timeout, method, abandon_on_cancel=True)


def _seconds(given: float) -> float:
    """Checks a duration that the agent gave."""
    if not given >= 0:
        raise WatcherError(f"{given} is not a number of seconds")
    return given


def _plain(value: object) -> Any:
    """Converts a record to what JSON can hold."""
    return msgspec.to_builtins(value)


def server_for(tools: AgentTools) -> MCPServer[None]:
    """Makes the Model Context Protocol server with all tools."""
    from mcp.server import MCPServer
    from mcp_types import ToolAnnotations

    server: MCPServer[None] = MCPServer(
        "portside", instructions=INSTRUCTIONS, version=version("portside"), log_level="WARNING"
    )
    for tool in tools.all:
        server.add_tool(_with_plain_errors(tool), annotations=ToolAnnotations(read_only_hint=True))
    return server


def _with_plain_errors(tool: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Wraps a tool so that the agent gets the message of an expected error. Any other error is a bug."""
    from mcp.server.mcpserver.exceptions import ToolError

    @functools.wraps(tool)
    async def run(*arguments: Any, **named: Any) -> Any:
        try:
            return await tool(*arguments, **named)
        except WatcherError as error:
            raise ToolError(str(error)) from error

    return run
