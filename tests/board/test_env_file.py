"""The file of --env-file: whole at every moment, ours alone, gone quiet when the forwards have."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.board.made import forward
from watcher.board.board import Board
from watcher.board.environment import HEADER, EnvFile, Variables
from watcher.errors import UsageError


async def becomes(path: Path, text: str) -> None:
    """Once the writer's thread is done."""
    with trio.fail_after(60):
        while text not in await trio.Path(path).read_text():
            pass


async def test_it_follows_the_board(tmp_path: Path) -> None:
    """From no variable to no variable, in mode 0600, with nothing else left in the folder."""
    path, board = tmp_path / "env", Board()
    file = EnvFile(str(path), Variables())
    assert path.read_text() == HEADER
    async with trio.open_nursery() as nursery:
        nursery.start_soon(file.run, board)
        board.publish(forward())
        await becomes(path, "WEB_8080_URL=http://127.0.0.1:8080\n")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        board.publish(forward(state="stopped", url=""))
        board.close()
    assert path.read_text() == HEADER
    assert os.listdir(tmp_path) == ["env"]


async def test_what_changes_nothing_is_not_written(tmp_path: Path) -> None:
    """A redeploy comes and goes; the port and so the file stay."""
    path, board = tmp_path / "env", Board()
    file = EnvFile(str(path), Variables())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(file.run, board)
        board.publish(forward())
        await becomes(path, "WEB_8080_URL")
        inode = path.stat().st_ino
        for state in ("listening", "ready"):
            board.publish(forward(state=state))
            await wait_all_tasks_blocked()
        board.close()
    assert path.stat().st_ino == inode


def test_another_file_is_not_overwritten(tmp_path: Path) -> None:
    """The user's own .env is refused; an empty file, or one that portside wrote, is taken over."""
    path = tmp_path / ".env"
    path.write_text("SECRET=1\n")
    with pytest.raises(UsageError, match="was not written by portside"):
        EnvFile(str(path), Variables())
    assert path.read_text() == "SECRET=1\n"
    for ours in ("", HEADER + "WEB_8080_PORT=1\n"):
        path.write_text(ours)
        EnvFile(str(path), Variables())
        assert path.read_text() == HEADER


@pytest.mark.parametrize("name", ["missing/env", "."])
def test_a_place_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    """Found before anything is bound."""
    with pytest.raises(UsageError, match=r"--env-file .* cannot be"):
        EnvFile(str(tmp_path / name), Variables())


def test_a_link_is_kept(tmp_path: Path) -> None:
    """Its target is written."""
    (tmp_path / "link").symlink_to(tmp_path / "file")
    EnvFile(str(tmp_path / "link"), Variables())
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == HEADER


async def test_a_folder_that_goes_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Forwarding goes on."""
    folder = tmp_path / "folder"
    folder.mkdir()
    board = Board()
    file = EnvFile(str(folder / "env"), Variables())
    (folder / "env").unlink()
    folder.rmdir()
    board.publish(forward())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(file.run, board)
        await wait_all_tasks_blocked()
        board.close()
    assert caplog.text.count("is out of date") == 1
