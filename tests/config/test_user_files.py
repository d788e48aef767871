"""Files that a user named: what is read, what is refused, and that nothing waits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from watcher import safe_yaml, user_files
from watcher.board import runtime_files
from watcher.docker.daemon import DEFAULT_SOCKET, Daemon, daemon_of
from watcher.errors import did_you_mean
from watcher.safe_yaml import BoundedLoader, OutOfBoundsError


def test_a_file_up_to_its_bound(tmp_path: Path) -> None:
    """One byte more is refused, and said with the bound."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert user_files.read_bytes(path, 100) == b"x" * 100
    with pytest.raises(OSError, match="larger than 99 bytes"):
        user_files.read_bytes(path, 99)
    os.truncate(path, 1 << 40)
    with pytest.raises(OSError, match="larger than 1 MiB"):
        user_files.read_bytes(path, 1 << 20)
    assert user_files.read_start(path, 3) == b"xxx"


def test_a_file_without_a_size() -> None:
    """What /proc tells is read, within the bound as well."""
    assert user_files.read_bytes("/proc/self/stat", 1 << 16).startswith(str(os.getpid()).encode())
    with pytest.raises(OSError, match="larger than 3 bytes"):
        user_files.read_bytes("/proc/self/stat", 3)


def test_the_null_device_is_an_empty_file() -> None:
    """KUBECONFIG=/dev/null is how one says: none."""
    assert user_files.read_text("/dev/null", 10) == ""


@pytest.mark.parametrize(("text", "read"), [(b"\xef\xbb\xbfa: 1", "a: 1"), ("ü".encode(), "ü"), (b"", "")])
def test_text(tmp_path: Path, text: bytes, read: str) -> None:
    """UTF-8, with or without the mark that editors on Windows put before it."""
    (tmp_path / "file").write_bytes(text)
    assert user_files.read_text(tmp_path / "file", 100) == read


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run as a user that has neither HOME nor a passwd entry: that is no error."""

    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert daemon_of({}, user_files.home_folder()) == Daemon(DEFAULT_SOCKET)
    assert runtime_files.directory().name.startswith("portside")


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "", "/"])
def test_names_that_no_file_has(name: str) -> None:
    """An OSError that has words."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - any of them
        user_files.read_bytes(name, 10)
    assert caught.value.strerror


@pytest.mark.parametrize("text", ["[" * 101, "- " * 101, "a:\n" + "".join(" " * n + "a:\n" for n in range(1, 102))])
def test_depth(text: str) -> None:
    """A hundred levels are read; what is deeper is refused with its place."""
    with pytest.raises(OutOfBoundsError) as caught:
        yaml.load(text, Loader=BoundedLoader)  # noqa: S506 - it is a SafeLoader
    assert caught.value.problem_mark is not None
    assert yaml.load("[" * 100 + "]" * 100, Loader=BoundedLoader)  # noqa: S506 - likewise


def test_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many in all, in however many documents; many bytes in one are none of that."""
    monkeypatch.setattr(safe_yaml, "MAX_NODES", 50)
    with pytest.raises(OutOfBoundsError, match="more than 50 values"):
        yaml.load("[" + "1," * 60 + "]", Loader=BoundedLoader)  # noqa: S506 - likewise
    with pytest.raises(OutOfBoundsError, match="more than 50 values"):
        list(yaml.load_all("--- 1\n" * 60, Loader=BoundedLoader))
    assert yaml.load("a: " + "x" * 1_000_000, Loader=BoundedLoader)  # noqa: S506 - likewise


@pytest.mark.parametrize("parser", ["CSafeLoader", "SafeLoader"])
def test_a_pyyaml_without_c(parser: str) -> None:
    """It reads the same, more slowly: anchors, merge keys, and a date as a text."""
    code = (
        "import yaml; yaml.CSafeLoader = yaml.PARSER; from watcher.safe_yaml import first_document\n"
        "print(first_document(b'a: &x {b: 1}\\nc:\\n  <<: *x\\n  d: 2020-01-01\\n'))"
    )
    words = [sys.executable, "-c", code.replace("PARSER", parser)]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "{'a': {'b': 1}, 'c': {'b': 1, 'd': '2020-01-01'}}\n"


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("wbe", ["web", "db"], '; did you mean "web"?'),
        ("USR", ["user", "services"], '; did you mean "user"?'),
        ("xyzzy", ["web"], ""),
        ("", ["web"], ""),
        ("web", [], ""),
        ("w" * 10_000, ["w" * 9_999], ""),
    ],
)
def test_suggestions(word: str, known: list[str], meant: str) -> None:
    """The nearest, whatever its case; none where none is near."""
    assert did_you_mean(word, known) == meant
