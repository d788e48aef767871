"""A copy of a test project in its own namespace, and a real Skaffold that a test starts in it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from fixtures.cluster import binaries
from fixtures.cluster.bed import Bed
from fixtures.cluster.binaries import GoModule, built
from fixtures.cluster.layout import Layout
from tests.support.limits import unlimited
from tests.support.objects import namespace
from tests.support.process import kill_session

PROJECTS = Path(__file__).parents[2] / "fixtures" / "projects"


def program(module: GoModule) -> str:
    """The path of a module's program of the same name; builds it if the cache lacks it."""
    with unlimited():
        folder = built(module, Layout.from_environment(), lambda _: None)
    return str(folder / module.name)


def skaffold_program(version: str) -> str:
    """The path of Skaffold in this version."""
    return program(binaries.skaffold(version))


@dataclass(frozen=True)
class Project:
    """A copy of a project. `environment`: the bed's, with its own home folder."""

    folder: Path
    namespace: str
    environment: dict[str, str]

    def save(self, text: str) -> None:
        """Change a source file: a running `skaffold dev` builds and deploys."""
        (self.folder / "content.txt").write_text(text + "\n")

    def with_skaffold(self, version: str) -> Project:
        """The same project, in which `skaffold` is this version."""
        folder = str(Path(skaffold_program(version)).parent)
        return replace(self, environment=self.environment | {"PATH": f"{folder}:{self.environment['PATH']}"})

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


@contextlib.contextmanager
def copied(bed: Bed, folder: Path, name: str) -> Iterator[Project]:
    """The project of that name, copied below `folder`, with a namespace for the block."""
    home = folder / "home"
    home.mkdir()
    environment = bed.environment() | {
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "SKAFFOLD_CACHE_FILE": str(folder / "cache"),
    }
    copy = shutil.copytree(PROJECTS / name, folder / name)
    with namespace(bed, f"e2e-{secrets.token_hex(4)}") as own:
        yield Project(copy, own, environment)


@contextlib.contextmanager
def hello(bed: Bed, folder: Path) -> Iterator[Project]:
    """The hello project with its own image, which no other test has built."""
    with copied(bed, folder, "hello") as project:
        project.save(f"hello from {project.namespace}, version 1")
        yield project


class Skaffold:
    """A Skaffold that a test started. `output`: all that it printed."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.output = ""
        self._arrived = trio.Event()

    async def says(self, text: str, times: int = 1, timeout: float = 60) -> None:
        """Returns when `text` was printed so many times."""
        with trio.move_on_after(timeout):
            while self.output.count(text) < times:
                assert self.process.returncode is None, self.output
                self._arrived = trio.Event()
                await self._arrived.wait()
            return
        raise AssertionError(f"Skaffold did not print {text!r} ({times}) within {timeout} s:\n{self.output}")

    async def idle(self, loops: int = 1) -> None:
        """Returns when so many dev loops have ended."""
        await self.says("Watching for changes...", loops)

    async def end(self, number: int = signal.SIGINT, timeout: float = 20) -> int:
        os.killpg(self.process.pid, number)
        with trio.fail_after(timeout):
            return await self.process.wait()

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for data in self.process.stdout:
            self.output += data.decode(errors="replace")
            self._arrived.set()


@asynccontextmanager
async def skaffold(project: Project, *arguments: str) -> AsyncIterator[Skaffold]:
    """`skaffold ARGUMENTS… -n NAMESPACE` in the project's folder; ended as by Ctrl-C, killed if that fails."""
    process = await trio.lowlevel.open_process(
        ["skaffold", *arguments, "-n", project.namespace],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=project.environment,
        cwd=project.folder,
        start_new_session=True,
    )
    running = Skaffold(process)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.read)
        try:
            yield running
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    with contextlib.suppress(trio.TooSlowError, ProcessLookupError):
                        await running.end()
                kill_session(process.pid)
                with trio.move_on_after(5):
                    await process.wait()
            nursery.cancel_scope.cancel()
