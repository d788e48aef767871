"""The runtime directory: who may read it, what stays in it, who was there first."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from watcher.board.runtime import Running, announced, directory, found, kept_token
from watcher.errors import UsageError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "portside"


def running(pid: int | None = None, command: str = "watch") -> Running:
    return Running(pid=pid or os.getpid(), url="http://127.0.0.1:1", command=command, folder="/somewhere")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_ours_alone_and_gone_afterwards(folder: Path) -> None:
    """The directory 0700, the file 0600, whatever the umask; no file when the block has ended."""
    before = os.umask(0)
    try:
        with announced(running()):
            assert found() == [running()]
            assert mode(folder) == 0o700
            assert [mode(path) for path in folder.iterdir()] == [0o600]
    finally:
        os.umask(before)
    assert list(folder.iterdir()) == []
    assert found() == []


def test_a_directory_that_others_could_read_is_closed(folder: Path) -> None:
    """Left behind by something older, or made by hand."""
    folder.mkdir(mode=0o755)
    with announced(running()):
        assert mode(folder) == 0o700


def test_it_is_gone_after_a_failure_too(folder: Path) -> None:
    """However the block ends."""
    with pytest.raises(KeyError), announced(running()):
        raise KeyError
    assert list(folder.iterdir()) == []


def test_what_is_stale_or_broken_is_removed(folder: Path) -> None:
    """A process that was killed leaves its file; whoever looks next clears it away."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    with announced(running()):
        (folder / "1.json").write_text("{")
        (folder / "2.json").write_text('{"pid":99999999999999999999,"url":"","command":"","folder":""}')
        with announced(running(ended.pid)):
            assert found() == [running()]
            assert [path.name for path in folder.iterdir()] == [f"{os.getpid()}.json"]


def test_a_token_is_ours_alone_and_gone_afterwards(folder: Path) -> None:
    """Mode 0600 whatever the umask; it is what a question must carry; no file when the block has ended."""
    before = os.umask(0)
    try:
        with kept_token("secret") as path:
            assert (path.parent, mode(folder), mode(path)) == (folder, 0o700, 0o600)
            asked = Running(pid=1, url="", command="", folder="", token_file=str(path))
            assert asked.headers() == {"Authorization": "Bearer secret"}
    finally:
        os.umask(before)
    assert list(folder.iterdir()) == []
    assert running().headers() == {}


def test_a_token_goes_with_its_stale_process(folder: Path) -> None:
    """Whoever clears a killed process away leaves no secret of it."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    with announced(running(ended.pid)):
        (folder / f"{ended.pid}.token").write_text("secret")
        assert found() == []
        assert list(folder.iterdir()) == []


def test_a_token_that_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of usage: nobody could ask."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="give --status-token-file"), kept_token("secret"):
        pass


def test_the_newest_is_last(folder: Path) -> None:
    """By start, not by pid."""
    with announced(running(os.getppid(), "first")), announced(running(command="second")):
        os.utime(folder / f"{os.getppid()}.json", (1, 1))
        assert [one.command for one in found()] == ["first", "second"]


def test_a_directory_that_cannot_be_made_costs_no_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and the block runs all the same."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "file"))
    with announced(running()):
        assert found() == []
    assert "`portside status` will not find this portside" in caplog.text


def test_a_link_in_its_place_is_not_followed(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In a temporary folder that all share somebody may have put it there."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.symlink_to(elsewhere)
    with announced(running()):
        assert list(elsewhere.iterdir()) == []
        assert found() == []
    assert "belongs to another user" in caplog.text


def test_without_a_runtime_directory_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of this user's in the temporary one."""
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert directory().name == f"portside-{os.getuid()}"
