"""Owns the status address of a portside that runs: its socket, its token, its entry in the runtime directory.

Raises UsageError before anything runs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import trio
from msgspec.structs import asdict

from forwarders.system.processes import start_time
from watcher import user_files
from watcher.board import runtime
from watcher.board.addresses import listen, parse_status_address, status_url
from watcher.board.board import Board
from watcher.board.runtime import About
from watcher.cli.options import Options
from watcher.cli.outputs import FORWARDS_FIRST
from watcher.errors import UsageError

logger = logging.getLogger("portside")

# A token has no other use than to be given, so it stands in no option: `ps` shows those to everybody.
TOKEN_VARIABLE = "PORTSIDE_STATUS_TOKEN"  # noqa: S105 - the variable's name
# What nobody guesses over a network, however it was made up.
SHORTEST_TOKEN = 16


class StatusAddress:
    """Bound from the beginning; `announced` while it serves."""

    def __init__(self, sock: socket.socket, token: str, token_file: Path | None, *, loopback: bool) -> None:
        self._socket = sock
        self._token = token
        self._token_file = token_file
        self._loopback = loopback

    @classmethod
    def asked(cls, options: Options) -> StatusAddress | None:
        """What `--status` and its token's options ask for; None for `off`."""
        address = parse_status_address(options.status)
        if address is None:
            return None
        token, token_file = _given_token(options)
        if not token and not address.loopback:
            token = secrets.token_urlsafe(32)
        return cls(listen(address), token, token_file, loopback=address.loopback)

    @property
    def url(self) -> str:
        """Where this machine reaches it."""
        return status_url(self._socket)

    @contextlib.contextmanager
    def announced(self, about: About) -> Iterator[None]:
        """Other portsides and commands find it while the block runs; the socket is closed afterwards."""
        with self._socket, contextlib.ExitStack() as stack:
            token_file = self._token_file
            if self._token and token_file is None:
                token_file = stack.enter_context(runtime.stored_token(self._token))
            if not self._loopback:
                port = self._socket.getsockname()[1]
                logger.warning(
                    "port %d is open to other machines: the status address, with the token in %s", port, token_file
                )
            running = runtime.Instance(
                **asdict(about), token_file=str(token_file or ""), began=start_time(os.getpid()) or 0.0
            )
            stack.enter_context(runtime.announced(running))
            yield

    async def serve(self, board: Board) -> None:
        """Serves until cancelled."""
        await board.until_ready(FORWARDS_FIRST)
        serve = await trio.to_thread.run_sync(_server)
        await serve(self._socket, board, self._token)


def _server() -> Callable[[socket.socket, Board, str], Awaitable[None]]:
    from watcher.board.http.routes import Routes
    from watcher.board.http.server import Guard, serve

    return lambda sock, board, token: serve(sock, Routes(board), Guard(token))


def _given_token(options: Options) -> tuple[str, Path | None]:
    """The token that the user chose and the file it stands in, "" and None where there is none. Raises UsageError."""
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
