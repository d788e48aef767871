"""How portside starts with closed streams, full disks, a deleted folder, few descriptors and odd files."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from tests.cli.made import PATIENCE, Place, closed_port, kubeconfig
from tests.support.process import PORTSIDE, portside
from watcher import user_files
from watcher.board.environment import EnvFile, Variables
from watcher.cli.collected import Options
from watcher.cli.sinks import StatusAddress
from watcher.cluster import kubeconfig as kubeconfig_files
from watcher.config import portside_yaml, project_files
from watcher.errors import UsageError

FORWARD = ("forward", "svc/web", ":8080")


def _large(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 30)


# Each makes what stands at the path that it is given.
ODD: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a link to itself": lambda path: os.symlink(path, path),
    "no folder": lambda path: os.symlink("nowhere/file", path),
    "a device without end": lambda path: os.symlink("/dev/zero", path),
    "a large file": _large,
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
}
YAML = {
    "brackets": "[" * 100_000,
    "mappings": "{a: " * 100_000,
    "dashes": "- " * 100_000,
    "questions": "? " * 100_000,
    "values": "a: [" + "1," * 300_000 + "]",
    "directives": "".join(f"%TAG !a{number}! b\n" for number in range(20_000)),
}


def shell(place: Place, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of sh in the place's folder, where `portside` is the program."""
    words = ["sh", "-c", line.replace("portside", PORTSIDE, 1)]
    given = place.environment | environment
    return subprocess.run(
        words, cwd=place.folder, env=given, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def is_one_line(done: subprocess.CompletedProcess[str], *texts: str) -> None:
    """Checks that the command was refused with exit code 2 and one line."""
    assert done.returncode == 2, done
    assert done.stderr.startswith("portside: ")
    assert done.stderr.count("\n") == 1
    assert all(text in done.stderr for text in texts), done.stderr


@pytest.fixture
def here(tmp_path: Path) -> Place:
    """A place whose kubeconfig names an API server that does not run."""
    place = Place(tmp_path)
    place.environment["KUBECONFIG"] = place.write("kubeconfig", kubeconfig(closed_port()))
    return place


@pytest.fixture(params=ODD)
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Something other than a small regular file."""
    path = tmp_path / "odd"
    ODD[request.param](path)
    return path


@pytest.mark.parametrize("option", ["--status-token-file=odd", "--kubeconfig=odd", "--env-file=odd", "--filename=odd"])
def test_a_pipe_in_place_of_a_file(here: Place, option: str) -> None:
    """Each option that names a file refuses a pipe at once, with one line."""
    os.mkfifo(here.folder / "odd")
    is_one_line(here.portside("watch", "--skaffold=1", option), "odd")


def test_whatever_stands_in_place_of_a_file(odd: Path) -> None:
    """Every reader of a file refuses something that is no small regular file, and does not wait."""
    options = dict.fromkeys(Options.__struct_fields__) | {"status": "127.0.0.1:0"}
    asked = Options(**(options | {"status_token_file": str(odd)}))  # type: ignore[arg-type]  # no other one is looked at
    readers: list[Callable[[], object]] = [
        lambda: StatusAddress.from_options(asked),
        lambda: kubeconfig_files.resolve_context([odd], None),
        lambda: project_files.read_file(str(odd)),
        lambda: EnvFile(str(odd), Variables()),
        lambda: portside_yaml.parse_settings(user_files.read_text(odd, user_files.PROJECT_FILE), "portside.yaml"),
    ]
    for read in readers:
        with pytest.raises((UsageError, OSError)) as caught:
            read()
        assert "\n" not in str(caught.value)


def test_a_broken_link_is_not_nothing(here: Place) -> None:
    """A skaffold.yaml that is a broken or circular link is an error, not a missing file."""
    (here.folder / "skaffold.yaml").symlink_to(here.folder / "skaffold.yaml")
    is_one_line(here.portside("watch", "--skaffold=1"), "skaffold.yaml cannot be read: ")


def test_a_kubeconfig_of_brackets(here: Place) -> None:
    """A deeply nested kubeconfig is one error; libyaml alone would crash."""
    here.write("kubeconfig", YAML["brackets"])
    is_one_line(here.portside(*FORWARD), "kubeconfig", "nested more than")


@pytest.mark.parametrize("text", YAML.values(), ids=YAML)
def test_yaml_without_bounds(tmp_path: Path, text: str) -> None:
    """YAML with too much depth, too many values or directives is refused early."""
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(UsageError, match="more than"):
        project_files.read_file(str(path))
    with pytest.raises(UsageError, match="more than"):
        portside_yaml.parse_settings(text, "portside.yaml")
    with pytest.raises(UsageError, match="more than"):
        kubeconfig_files.resolve_context([path], None)


@pytest.mark.parametrize("limit", [6, 16, 63])
def test_few_descriptors(here: Place, limit: int) -> None:
    """With too few descriptors for any forward, portside refuses to start."""
    done = shell(here, f"ulimit -n {limit}; portside forward svc/web 8080")
    is_one_line(done, f"only {limit} files may be open", "ulimit -n")


@pytest.mark.parametrize("words", ["forward svc/web 8080", "run -- skaffold dev", "status"])
def test_a_folder_that_is_gone(here: Place, words: str) -> None:
    """A working folder that was deleted is an error of one line."""
    is_one_line(shell(here, f"mkdir gone && cd gone && rmdir ../gone && portside {words}"), "working folder")


@pytest.mark.parametrize(("streams", "code"), [(">&-", 0), ("2>&-", 0), (">&- 2>&- <&-", 0), (">/dev/full", 1)])
def test_standard_streams(here: Place, streams: str, code: int) -> None:
    """A closed standard stream is no error; a full disk is one line."""
    done = shell(here, f"portside schema {streams}")
    assert done.returncode == code
    assert done.stderr == ("portside: No space left on device\n" if code else "")


@pytest.mark.parametrize("streams", ["2>&-", ">&- 2>&- <&-", ">/dev/full 2>/dev/full"])
async def test_forwards_without_streams(cluster: EmbeddedCluster, place: Place, streams: str) -> None:
    """Without standard streams forwards work, and no socket gets what is printed."""
    line = f"exec {PORTSIDE} forward svc/web 8080 --output=json --exec 'curl -sS $WEB_8080_URL >page' {streams}"
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(["sh", "-c", line], cwd=place.folder, env=place.environment, check=False)
    assert done.returncode == 0
    assert "hello" in (place.folder / "page").read_text()


@pytest.mark.parametrize(
    ("ignored", "sent", "ends"),
    [("HUP", signal.SIGHUP, False), ("HUP INT", signal.SIGINT, True), ("INT", signal.SIGINT, True)],
)
async def test_ignored_signals(
    cluster: EmbeddedCluster, place: Place, ignored: str, sent: signal.Signals, *, ends: bool
) -> None:
    """As in kubectl, SIGHUP is ignored under nohup, and SIGINT ends a background job that ignored it."""
    async with portside(*FORWARD, environment=place.environment, folder=place.folder, ignoring=ignored) as program:
        await program.ready("web")
        program.process.send_signal(sent)
        if not ends:
            with trio.move_on_after(0.5):
                await program.process.wait()
            assert program.process.returncode is None
        assert await program.wait() == 0 if ends else await program.end(signal.SIGTERM) == 0


def test_a_misspelt_command(here: Place) -> None:
    """An unknown command gets a suggestion."""
    is_one_line(here.portside("forwad", "svc/web", "8080"), 'no command "forwad"; did you mean "forward"?')
    assert "did you mean" not in here.portside("xyzzy").stderr
