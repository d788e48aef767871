"""The runtime directory: who may read it, what stays in it, who was there first."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from forwarders.system.processes import start_time
from watcher.board.runtime_files import MAX_FILE, Instance, announced, directory, running_instances, stored_token
from watcher.errors import UsageError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "portside"


def running(pid: int | None = None, command: str = "watch") -> Instance:
    return Instance(pid=pid or os.getpid(), url="http://127.0.0.1:1", command=command, folder="/somewhere")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_ours_alone_and_gone_afterwards(folder: Path) -> None:
    """Directory 0700 and file 0600 whatever the umask; the file is gone at the end of the block."""
    before = os.umask(0)
    try:
        with announced(running()):
            assert running_instances() == [running()]
            assert mode(folder) == 0o700
            assert [mode(path) for path in folder.iterdir()] == [0o600]
    finally:
        os.umask(before)
    assert list(folder.iterdir()) == []
    assert running_instances() == []


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
    """A killed process leaves its file; the next look-up removes it."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    with announced(running()):
        (folder / "1.json").write_text("{")
        (folder / "2.json").write_text('{"pid":99999999999999999999,"url":"","command":"","folder":""}')
        with announced(running(ended.pid)):
            assert running_instances() == [running()]
            assert [path.name for path in folder.iterdir()] == [f"{os.getpid()}.json"]


def test_a_token_is_ours_alone_and_gone_afterwards(folder: Path) -> None:
    """Mode 0600 whatever the umask; requests carry the token; the file is gone at the end of the block."""
    before = os.umask(0)
    try:
        with stored_token("secret") as path:
            assert (path.parent, mode(folder), mode(path)) == (folder, 0o700, 0o600)
            asked = Instance(pid=1, url="", command="", folder="", token_file=str(path))
            assert asked.headers() == {"Authorization": "Bearer secret"}
    finally:
        os.umask(before)
    assert list(folder.iterdir()) == []
    assert running().headers() == {}


def test_a_token_goes_with_its_stale_process(folder: Path) -> None:
    """Removing a killed process's file removes its token too."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    with announced(running(ended.pid)):
        (folder / f"{ended.pid}.token").write_text("secret")
        assert running_instances() == []
        assert list(folder.iterdir()) == []


def test_a_token_that_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A UsageError, because no client could authenticate."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="give --status-token-file"), stored_token("secret"):
        pass


def test_the_newest_is_last(folder: Path) -> None:
    """By start, not by pid."""
    with announced(running(os.getppid(), "first")), announced(running(command="second")):
        os.utime(folder / f"{os.getppid()}.json", (1, 1))
        assert [one.command for one in running_instances()] == ["first", "second"]


def test_a_directory_that_cannot_be_made_costs_no_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning is logged, and the block runs."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "file"))
    with announced(running()):
        assert running_instances() == []
    assert "`portside status` will not find this portside" in caplog.text


def test_a_link_in_its_place_is_not_followed(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In a shared temporary folder another user may have created it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.symlink_to(elsewhere)
    with announced(running()):
        assert list(elsewhere.iterdir()) == []
        assert running_instances() == []
    assert "belongs to another user" in caplog.text


def test_without_a_runtime_directory_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of this user's in the temporary one."""
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert directory().name == f"portside-{os.getuid()}"


def written(folder: Path, name: str, **fields: object) -> Path:
    """A runtime file as another portside would have left it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{name}.json"
    given = {"pid": os.getpid(), "url": "http://127.0.0.1:1", "command": "watch", "folder": "/somewhere"}
    path.write_bytes(msgspec.json.encode(given | fields))
    return path


def test_a_process_id_that_is_used_again(folder: Path) -> None:
    """Another process has the id now: it gets no request and no token, and the files are removed."""
    mine = start_time(os.getpid())
    assert mine
    token = folder / f"{os.getpid()}.token"
    written(folder, str(os.getpid()), began=mine - 1, token_file=str(token))
    token.write_text("secret")
    assert running_instances() == []
    assert list(folder.iterdir()) == []
    written(folder, str(os.getpid()), began=mine)
    assert [one.pid for one in running_instances()] == [os.getpid()]


def test_a_token_is_not_sent_once_the_process_has_ended(folder: Path) -> None:
    """If the process ends after it was found, another process may have its port."""
    folder.mkdir(mode=0o700)
    (folder / "token").write_text("secret")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        one = Instance(
            pid=process.pid,
            url="",
            command="watch",
            folder="/",
            token_file=str(folder / "token"),
            began=start_time(process.pid) or 0,
        )
        assert one.headers() == {"Authorization": "Bearer secret"}
        process.communicate(b"\n")
    with pytest.raises(ProcessLookupError):
        one.headers()


def test_a_token_needs_a_process_that_is_known(folder: Path) -> None:
    """Without a start time the process cannot be identified, so it gets no token."""
    (folder.parent / "token").write_text("secret")
    path = written(folder, "1", pid=os.getpid(), token_file=str(folder.parent / "token"))
    assert running_instances() == []
    assert path.exists()


def test_a_child_that_nobody_waited_for_has_ended() -> None:
    """A zombie has a process id and serves nothing."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert start_time(process.pid) is None
    finally:
        process.wait()


@pytest.mark.parametrize("pid", [0, -1, 2**31, 2**70])
def test_no_such_process(pid: int) -> None:
    """Whatever number a file or a user names."""
    assert start_time(pid) is None


GARBAGE = (b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 60_000, b"{}", b'{"pid":"x"}', b'{"pid":-1}')


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_removed(folder: Path, data: bytes) -> None:
    """No portside that runs wrote it."""
    with announced(running()):
        (folder / "9.json").write_bytes(data)
        assert running_instances() == [running()]
        assert not (folder / "9.json").exists()


def test_a_later_versions_file(folder: Path) -> None:
    """Fields that this version does not know are passed over; a format that it does not know is left alone."""
    written(folder, "1", began=start_time(os.getpid()), surprise={"new": [1]})
    assert len(running_instances()) == 1
    strange = written(folder, "2", url=["http://127.0.0.1:1", "http://[::1]:1"])
    assert len(running_instances()) == 1
    assert strange.exists()


def test_what_is_no_small_file_of_ours(folder: Path, tmp_path: Path) -> None:
    """A pipe is not waited for, a huge file not read, a link and a folder not followed; none is removed."""
    with announced(running()):
        os.mkfifo(folder / "1.json")
        (folder / "2.json").write_bytes(b" " * (MAX_FILE + 1))
        (tmp_path / "elsewhere").write_bytes(msgspec.json.encode(running()))
        (folder / "3.json").symlink_to(tmp_path / "elsewhere")
        (folder / "4.json").mkdir()
        assert running_instances() == [running()]
        assert len(list(folder.iterdir())) == 5


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_another_users_file(folder: Path) -> None:
    """It is neither believed nor removed."""
    path = written(folder, "1")
    os.chown(path, 12345, -1)
    assert running_instances() == []
    assert path.exists()
