"""What Windows does otherwise, asked on any system: programs, words for errors, open files."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest

from forwarders.system import files, processes, tcp, terminals


def place(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(b"")
    return path


def test_a_program_in_the_working_folder_is_never_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cloned repository may bring a skaffold.exe: neither the folder itself nor a relative one in PATH counts."""
    monkeypatch.setenv("PATHEXT", ".EXE;.CMD")
    place(tmp_path / "here", "skaffold.EXE")
    monkeypatch.chdir(tmp_path / "here")
    right = place(tmp_path / "bin", "skaffold.EXE")
    path = os.pathsep.join(["", ".", "../here"])
    assert processes.find_on_windows("skaffold", path) is None
    assert processes.find_on_windows("skaffold", os.pathsep.join([path, str(right.parent)])) == str(right)


def test_a_program_has_one_of_the_extensions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """skaffold is skaffold.EXE before skaffold.CMD, never a file that is no program; a path is taken as it is."""
    monkeypatch.setenv("PATHEXT", ".EXE;.CMD")
    for name in ("skaffold", "skaffold.txt", "skaffold.CMD"):
        place(tmp_path, name)
    command = str(tmp_path / "skaffold.CMD")
    assert processes.find_on_windows("skaffold", str(tmp_path)) == command
    assert processes.find_on_windows("skaffold.CMD", str(tmp_path)) == command
    assert processes.find_on_windows(str(tmp_path / "skaffold"), "") == command
    assert processes.find_on_windows("skaffold.txt", str(tmp_path)) is None
    monkeypatch.setenv("PATHEXT", ".com;.exe;.js")
    assert processes.find_on_windows(command, "") == command


def test_on_windows_a_command_starts_by_its_full_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the system's own search, which begins in the working folder, is not asked; what is missing is said."""
    monkeypatch.setattr(processes, "WINDOWS", True)
    monkeypatch.setenv("PATHEXT", ".EXE")
    path = place(tmp_path, "skaffold.EXE")
    assert processes.startable(["skaffold", "dev"], {"PATH": str(tmp_path)}) == [str(path), "dev"]
    with pytest.raises(FileNotFoundError):
        processes.startable(["skaffold", "dev"], {"PATH": ""})


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ECONNREFUSED, "connection refused"), (errno.ETIMEDOUT, "connection timed out")],
)
def test_errors_of_sockets_have_words(code: int, words: str) -> None:
    """Windows' own os.strerror knows none of its sockets' codes."""
    assert tcp.error_text(code, "win32") == words


def test_a_reserved_port_is_no_lack_of_rights() -> None:
    """Windows refuses ports of its excluded ranges with EACCES: the line names the command that lists them."""
    assert "excludedportrange" in tcp.port_denied_reason(8080, "win32")
    assert "privileges" in tcp.port_denied_reason(80, "linux")


def test_pieces_are_joined_up_to_a_bound() -> None:
    """Without sendmsg small pieces go out in one call, and a large one is not copied."""
    assert tcp.join_pieces([b"ab", memoryview(b"cd")]) == b"abcd"
    large = bytes(tcp.MAX_JOINED)
    assert tcp.join_pieces([large, b"x"]) is large
    assert tcp.join_pieces([b"x", large]) == b"x"


def test_a_file_that_is_open_elsewhere_is_replaced_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor that has the file open refuses it for a moment only; after a second it is an error."""
    refusals = iter([True] * 3)

    def refusing(self: Path, target: Path) -> Path:
        if next(refusals, False):
            raise PermissionError(errno.EACCES, "open elsewhere")
        return real(self, target)

    real = Path.replace
    monkeypatch.setattr(files, "IS_OFTEN_OPEN", True)
    monkeypatch.setattr(files, "REPLACE_PAUSE", 0)
    monkeypatch.setattr(Path, "replace", refusing)
    files.write_whole_file(tmp_path / "env", "A=1\n")
    assert (tmp_path / "env").read_bytes() == b"A=1\n"
    refusals = iter([True] * 1000)
    with pytest.raises(PermissionError):
        files.write_whole_file(tmp_path / "env", "A=2\n")
    assert os.listdir(tmp_path) == ["env"]


def test_streams_that_are_no_console_get_utf_8() -> None:
    """An arrow in `doctor > file` is no error in a code page that has none."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="cp1252")
    terminals.use_utf8(stream)
    stream.write("→")
    stream.flush()
    assert raw.getvalue() == "→".encode()


@pytest.mark.parametrize(
    ("platform", "environ", "expected"),
    [
        ("darwin", {"TMPDIR": "/var/folders/x"}, "home/Library/Caches/portside/run"),
        ("win32", {"LOCALAPPDATA": "local"}, "local/portside/run"),
        ("darwin", {"XDG_RUNTIME_DIR": "run"}, "run/portside"),
    ],
)
def test_runtime_files_lie_where_every_shell_finds_them(platform: str, environ: dict[str, str], expected: str) -> None:
    """On macOS $TMPDIR differs between shells, and what lies there for three days is removed."""
    assert files.runtime_folder(environ, Path("home"), platform) == Path(expected)
