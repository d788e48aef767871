"""Owns how a forwarding command ends: by itself, by a signal, or with the command of --exec and its exit code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import trio

from forwarders.system.processes import stop_signals
from watcher.cli.host import Host
from watcher.cli.insistence import Insistence
from watcher.cli.user_command import UserCommand

Task = Callable[[], Awaitable[None]]


async def served(host: Host, task: Task) -> int:
    """Runs `task`, which runs `host`, to its end; the exit code."""
    command = host.user_command
    if command is None:
        await until_signal(task)
        return 1 if host.failed else 0
    code = 1

    async def both() -> None:
        nonlocal code
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task)
            code = await command.run(host.board)
            nursery.cancel_scope.cancel()

    await until_signal(both, command)
    return code


async def until_signal(task: Task, command: UserCommand | None = None) -> None:
    """Runs `task` until it returns, or SIGINT, SIGTERM or (unless ignored, as under nohup) SIGHUP cancels it.

    SIGINT ends it also where it was ignored (a script's background job), as it ends kubectl. A second signal ends the
    process at once. `command`: while it runs it gets the signals instead of us.
    """
    with trio.open_signal_receiver(*stop_signals()) as arrivals:
        async with trio.open_nursery() as nursery:
            ending = trio.CancelScope()
            nursery.start_soon(command.pass_on if command else _cancel, arrivals, ending)
            with ending:
                await task()
            nursery.cancel_scope.cancel()


async def _cancel(arrivals: AsyncIterator[int], ending: trio.CancelScope) -> None:
    insistence = Insistence()
    async with trio.open_nursery() as nursery:
        async for number in arrivals:
            insistence.heard(number)
            if not ending.cancel_called:
                ending.cancel()
                nursery.start_soon(insistence.explain)
