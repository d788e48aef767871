"""A real terminal (tmux, with its own server) with a shell: types keys, changes its size, reads its screen.

It reads the screen again when something was written to it, not after a time.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

PROMPT = "prompt> "


class Terminal:
    """`socket`: the server's. `written`: receives a byte for everything that the pane writes."""

    def __init__(self, socket: Path, written: trio.abc.ReceiveStream) -> None:
        self._socket = socket
        self._written = written

    async def type(self, text: str) -> None:
        """Type this text, without Enter."""
        await self._tmux("send-keys", "-l", text)

    async def press(self, *keys: str) -> None:
        """Press keys by tmux's names: Enter, C-c, C-z."""
        await self._tmux("send-keys", *keys)

    async def command(self, *words: str) -> None:
        """Type a command line, with Enter."""
        await self.type(shlex.join(words))
        await self.press("Enter")

    async def resize(self, width: int, height: int) -> None:
        await self._tmux("resize-window", "-x", str(width), "-y", str(height))

    async def screen(self, *options: str) -> list[str]:
        """The visible lines without trailing blanks; `-S -` adds what was scrolled away."""
        return [line.rstrip() for line in (await self._tmux("capture-pane", "-p", *options)).splitlines()]

    async def shows(self, wanted: Callable[[list[str]], object], timeout: float = 60) -> list[str]:
        """The screen, when it satisfies the condition."""
        screen: list[str] = []
        with trio.move_on_after(timeout):
            while not wanted(screen := await self.screen()):
                await self._written.receive_some()
            return screen
        raise AssertionError("not seen:\n" + "\n".join(screen))

    async def says(self, text: str, timeout: float = 60) -> list[str]:
        """The screen, when it contains the text."""
        return await self.shows(lambda screen: any(text in line for line in screen), timeout)

    async def prompts(self) -> list[str]:
        """The screen, when the shell's prompt is on its own line."""
        return await self.shows(lambda screen: [line for line in screen if line][-1:] == [PROMPT.strip()])

    async def set(self, option: str, value: str) -> None:
        """Set one of tmux's server options."""
        await self._tmux("set-option", "-s", option, value)

    async def buffer(self) -> str:
        """What was copied last."""
        return await self._tmux("show-buffer")

    async def modes(self) -> str:
        """The flags of the cursor and of line wrapping, and whether the alternate screen is on."""
        return (await self._tmux("display", "-p", "#{cursor_flag}#{wrap_flag}#{alternate_on}")).strip()

    async def _tmux(self, *words: str) -> str:
        done = await trio.run_process(
            ["tmux", "-S", str(self._socket), *words], capture_stdout=True, capture_stderr=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()


@asynccontextmanager
async def terminal(
    environment: Mapping[str, str], folder: Path, *, width: int = 120, height: int = 24
) -> AsyncIterator[Terminal]:
    """A terminal of that size with a shell in `folder`; at the end everything in it is killed."""
    with tempfile.TemporaryDirectory(prefix="tmux") as own:  # a socket's path must be short
        socket, pipe = Path(own) / "socket", Path(own) / "written"
        os.mkfifo(pipe)
        given = {"TERM": "screen", **environment, "PS1": PROMPT}
        shell = shlex.join(["env", "-i", *(f"{name}={value}" for name, value in given.items()), "sh"])
        size = ("-x", str(width), "-y", str(height))
        server = ["tmux", "-S", str(socket), "-f", "/dev/null"]
        await _run([*server, "new-session", "-d", *size, "-c", str(folder), shell])
        reader = await trio.lowlevel.open_process(["cat", str(pipe)], stdout=subprocess.PIPE)
        try:
            await _run([*server, "pipe-pane", "-O", f"cat > {pipe}"])
            assert reader.stdout is not None
            found = Terminal(socket, reader.stdout)
            await found.prompts()  # what is typed before would stand before the prompt
            yield found
        finally:
            with trio.CancelScope(shield=True):
                await trio.run_process([*server, "kill-server"], check=False, capture_stderr=True)
                reader.kill()
                await reader.wait()


async def _run(command: Sequence[str]) -> None:
    await trio.run_process(command, env={"PATH": _PATH, "LANG": "C.UTF-8"})


_PATH = str(Path(shutil.which("tmux") or "/usr/bin/tmux").parent) + ":/usr/bin:/bin"
