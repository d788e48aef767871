"""--help: its examples, its groups, and what it does not import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.made import Place
from watcher.cli.main import COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(place: Place, command: str) -> None:
    """The help of every command has an example, and fits into 80 columns."""
    done = place.portside(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"portside {command}" in done.stdout.partition("Example")[2]
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []


def test_the_commands_and_exit_codes(place: Place) -> None:
    """`portside --help` lists all commands and the exit codes."""
    for words in (("--help",), ("-h",)):
        done = place.portside(*words)
        assert done.returncode == 0
        assert all(f"\n  {command} " in done.stdout for command in COMMANDS)
        assert "Exit codes: 0 done" in done.stdout
    assert place.portside("--version").stdout.startswith("portside, version ")


@pytest.mark.parametrize(
    ("command", "groups"),
    [
        ("forward", ["Common:", "Ports:", "Output:", "Tuning:"]),
        ("watch", ["Common:", "Ports:", "Output:", "Skaffold:", "Tuning:"]),
        ("run", ["Common:", "Ports:", "Output:", "Skaffold:", "Tuning:"]),
    ],
)
def test_options_in_groups(place: Place, command: str, groups: list[str]) -> None:
    """Each option once, with its default; that of `forward` fits on a screen of 80 columns and 40 lines."""
    lines = place.portside(command, "--help").stdout.splitlines()
    assert [line for line in lines if line.endswith(":") and not line.startswith(" ")] == groups
    names = [line.split()[0] for line in lines if line.startswith("  -")]
    assert len(names) == len(set(names))
    assert {"--hold", "--max-waiting", "--open", "-n,", "-h,"} <= set(names)
    assert any(line.endswith("ready pod. Default: 30.") for line in lines)
    assert max(map(len, lines)) <= 80
    assert command != "forward" or len(lines) < 40


def test_the_former_name_of_an_option(place: Place) -> None:
    """--held, one letter from --hold, is not an option any more."""
    done = place.portside("forward", "svc/web", "80", "--held", "1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--held" in done.stderr


def test_help_imports_nothing_heavy() -> None:
    """--help imports no library that only a running command needs."""
    heavy = {"kubernetes", "httpx", "trio", "starlette", "hypercorn", "msgspec", "yaml", "ssl", "rich", "watchfiles"}
    for command in COMMANDS:
        code = (
            "import sys\nfrom watcher.cli.main import portside\n"
            f"try: portside.main([{command!r}, '--help'])\nexcept SystemExit: pass\n"
            "print('\\n', *sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        assert not heavy & set(done.stdout.splitlines()[-1].split()), command


def test_status_where_nothing_runs(place: Place) -> None:
    """`status` without a portside is one line with exit code 1, not wrong usage."""
    done = place.portside("status")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "portside: no portside runs here\n")
