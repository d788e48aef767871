"""Shows the forwards: lines or a table on stdout, the env file, the browser, and the status address over HTTP.

Each output reads the board at its own pace. Every mistake in the options is raised before anything is forwarded.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import trio
from msgspec.structs import asdict

from forwarders.spec import State
from forwarders.system.processes import start_time
from forwarders.system.terminals import CAN_DRAW, in_foreground, open_url
from forwarders.tasks import kept
from watcher import user_files
from watcher.board import runtime_files
from watcher.board.addresses import is_loopback, listen, parse_status_address, status_url
from watcher.board.board import Board
from watcher.board.environment import EnvFile, Variables
from watcher.board.lines import JsonLines, LineRenderer, PlainLines, write_failures, write_first_line, write_lines
from watcher.board.records import ForwardRecord
from watcher.board.runtime_files import About
from watcher.cli import logs
from watcher.cli.collected import Options
from watcher.cli.lifecycle import ExecCommand
from watcher.errors import UsageError

logger = logging.getLogger("portside.board")

# Seconds that outputs wait for the first forwards to be ready, and then for the first bytes of the connections that
# waited. Imports, even in a thread, delay these by 5 ms at a time (sys.getswitchinterval).
FORWARDS_FIRST, BYTES_FIRST = 0.3, 0.1
# The token comes from a variable or a file, never from an option: `ps` shows options to every user.
TOKEN_VARIABLE = "PORTSIDE_STATUS_TOKEN"  # noqa: S105 - the variable's name
# Long enough that it cannot be guessed over a network.
SHORTEST_TOKEN = 16


class Outputs:
    """Runs the outputs that the options ask for. `context`: the default kube-context. Raises UsageError."""

    def __init__(self, command: str, options: Options, context: str) -> None:
        # Shared, so that a forward has the same variables in the file and in the command.
        variables = Variables(os.environ, context)
        self.exec_command = ExecCommand.of(options, variables)
        self._json = options.output == "json"
        self._renderer: LineRenderer = JsonLines() if self._json else PlainLines(context)
        self._table = _has_table(command, options)
        self._env_file = EnvFile(options.env_file, variables) if options.env_file else None
        self._browser = BrowserOpener(requested=options.open)

    async def run(self, board: Board) -> None:
        """Run all outputs until the board closes."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kept, logger, "opening the browser", partial(self._browser.run, board))
            if self._env_file is not None:
                nursery.start_soon(kept, logger, "writing --env-file", partial(self._env_file.run, board))
            if self._table:
                nursery.start_soon(kept, logger, "drawing the table", partial(_show_table, board, self._renderer))
            else:
                write = partial(write_lines, board, self._renderer, sys.stdout.fileno())
                nursery.start_soon(kept, logger, "printing lines", write)
            if self._json and board.about is not None:
                nursery.start_soon(kept, logger, "the first line", partial(_introduce, board.about))


def _has_table(command: str, options: Options) -> bool:
    """Whether to draw a table: it needs a terminal of its own. Raises UsageError if it is required but impossible."""
    obstacle = ""
    if command == "run":
        obstacle = "under run Skaffold has the terminal"
    elif options.exec_command:
        obstacle = "with --exec the command has the terminal"
    elif not sys.stdout.isatty():
        obstacle = "stdout is not a terminal"
    elif not CAN_DRAW:
        obstacle = "portside draws no table on Windows"
    elif os.environ.get("TERM", "dumb") == "dumb":
        obstacle = "this terminal cannot move its cursor (TERM)"
    elif not in_foreground(sys.stdout.fileno()):
        obstacle = "another program uses it, because portside was started in the background"
    if options.output == "table" and obstacle:
        raise UsageError(f"--output table needs a terminal of its own: {obstacle}; use plain")
    return options.output in {"auto", "table"} and not obstacle


async def _introduce(about: About) -> None:
    """Prints the first line on stderr, because stdout is for JSON only."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # it may be closed
        await write_first_line(about, sys.stderr.fileno())


async def _show_table(board: Board, renderer: LineRenderer) -> None:
    await _import_later(board, "watcher.board.screen")
    if board.closed:  # nothing could be forwarded: a table would only say so, the lines say why
        await write_failures(board, renderer, sys.stdout.fileno())
        return
    from watcher.board.screen import Screen, keyboard_of

    terminal = sys.stdout.fileno()
    table = Screen(board, terminal, colour=not os.environ.get("NO_COLOR"), keyboard=keyboard_of(terminal))
    with logs.diverted(table.print_above) if sys.stderr.isatty() else contextlib.nullcontext():
        await table.run()


async def _import_later(board: Board, *modules: str) -> None:
    """Imports modules in a thread, after the first forwards have had their turn; returns when the board closes."""

    async def end_with_board() -> None:
        with contextlib.suppress(trio.EndOfChannel):
            await board.until(lambda: False)
        nursery.cancel_scope.cancel()

    with trio.move_on_after(FORWARDS_FIRST), contextlib.suppress(trio.EndOfChannel):  # the board may close before
        await board.until(lambda: board.ready)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_with_board)
        await trio.sleep(BYTES_FIRST)
        for module in modules:
            await trio.to_thread.run_sync(importlib.import_module, module, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


class BrowserOpener:
    """Opens each forward with an `open` path in the browser, once, when it is first ready.

    `requested`: with --open it opens the first ready forward if none has a path.
    """

    def __init__(self, *, requested: bool, open_page: Callable[[str], str] = open_url) -> None:
        self._requested = requested
        self._open_page = open_page
        self._opened: set[tuple[str, str, str, int | str]] = set()

    async def run(self, board: Board) -> None:
        """Open pages as forwards become ready, until the board closes."""
        async with board.subscribe() as changes:
            async for _ in changes:
                for record in self._due(board):
                    await self._open(record)

    def _due(self, board: Board) -> list[ForwardRecord]:
        ready = [record for record in board.forwards.values() if record.state == State.READY.value]
        if any(record.open_path for record in board.forwards.values()):
            return [record for record in ready if record.open_path]
        # Before there is a plan, a forward with a path may still come.
        return ready[:1] if self._requested and board.planned and not self._opened else []

    async def _open(self, record: ForwardRecord) -> None:
        if _place(record) in self._opened:
            return
        self._opened.add(_place(record))
        from watcher.board.actions import open_in_browser

        if problem := await open_in_browser(record, self._open_page):
            logger.log(logging.WARNING if self._requested else logging.INFO, "%s", problem)


def _place(record: ForwardRecord) -> tuple[str, str, str, int | str]:
    """Returns the target of a forward, without its local port and address."""
    return record.context, record.namespace, record.resource, record.remote_port


class StatusAddress:
    """The status address of one portside: its socket, its token and its entry in the runtime directory."""

    def __init__(self, sock: socket.socket, token: str, token_file: Path | None, *, loopback: bool) -> None:
        self._socket = sock
        self._token = token
        self._token_file = token_file
        self._loopback = loopback

    @classmethod
    def from_options(cls, options: Options) -> StatusAddress | None:
        """Binds the address of --status; None for `off`. Beyond loopback it always has a token. Raises UsageError."""
        address = parse_status_address(options.status)
        if address is None:
            return None
        token, token_file = _configured_token(options)
        loopback = is_loopback(address.host)
        if not token and not loopback:
            token = secrets.token_urlsafe(32)
        return cls(listen(address), token, token_file, loopback=loopback)

    @property
    def url(self) -> str:
        """The URL for programs of this machine."""
        return status_url(self._socket)

    @contextlib.contextmanager
    def announced(self, about: About) -> Iterator[None]:
        """Lets other portsides and commands find the address while the block runs; then closes its socket."""
        with self._socket, contextlib.ExitStack() as stack:
            token_file = self._token_file
            if self._token and token_file is None:
                token_file = stack.enter_context(runtime_files.stored_token(self._token))
            if not self._loopback:
                port = self._socket.getsockname()[1]
                logger.warning(
                    "port %d is open to other machines: the status address, with the token in %s", port, token_file
                )
            began = start_time(os.getpid()) or 0.0
            running = runtime_files.Instance(**asdict(about), token_file=str(token_file or ""), began=began)
            stack.enter_context(runtime_files.announced(running))
            yield

    async def serve(self, board: Board) -> None:
        """Serves the status address until cancelled."""
        await _import_later(board, "watcher.board.http.routes", "watcher.board.http.server")
        from watcher.board.http.routes import Routes
        from watcher.board.http.server import Guard, serve

        await serve(self._socket, Routes(board), Guard(self._token, loopback=self._loopback))


def _configured_token(options: Options) -> tuple[str, Path | None]:
    """Reads the user's token; returns it and its file, or "" and None without one. Raises UsageError."""
    token, path, origin = os.environ.get(TOKEN_VARIABLE, "").strip(), None, TOKEN_VARIABLE
    if options.status_token_file:
        path, origin = Path(options.status_token_file).absolute(), f"--status-token-file {options.status_token_file}"
        try:
            token = user_files.read_text(path, user_files.SECRET).strip()
        except OSError as error:
            raise UsageError(f"{origin} cannot be read: {error.strerror}") from None
    elif not token:
        return "", None
    if len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable() and " " not in token):
        raise UsageError(f"{origin}: expected {SHORTEST_TOKEN} or more printable ASCII characters without spaces")
    return token, path
