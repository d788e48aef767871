"""Texts from a cluster with control characters do not reach the terminal through any output."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.pods import Port
from fixtures.embedded.web import web
from tests.support.process import PORTSIDE, portside
from watcher.board.lines import json_line, printable
from watcher.board.records import ExplainRecord
from watcher.cli import instance_commands, main
from watcher.errors import ApiError

# Clear the screen, set the title, an 8-bit CSI, a line of its own, a backspace, a right-to-left override.
HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\nroot# rm\r\x08\u202eevil"


def harmless(text: str) -> bool:
    """Whether a text has only printable characters and the newlines at the ends of lines."""
    return printable(text.replace("\n", "")) == text.replace("\n", "")


async def test_a_pods_annotation_and_an_errors_text(tmp_path: Path) -> None:
    """A hostile annotation and a hostile waiting reason are shown escaped, on one line each."""
    async with EmbeddedCluster.open() as cluster:
        pod = await cluster.pod("web", [Port(8080, web("page"), "http")], ready=False)
        manifest = pod.manifest
        waiting = {"containerStatuses": [{"name": "app", "state": {"waiting": {"reason": HOSTILE}}}]}
        pod._update(status={**manifest["status"], "phase": "Pending", **waiting})
        kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig")
        environment = {"XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin", "LANG": "C.UTF-8"}
        words = ("forward", "-vv", f"--kubeconfig={kubeconfig}", "--address=127.0.0.1", "pod/web", ":8080")
        for output in ("plain", "json"):
            async with portside(*words, environment=environment, output=output) as running:
                await running.wait_for(lambda _, r=running: "owned" in f"{r.others}{r.records}")  # type: ignore[misc]  # r is bound now
                shown = {}
                for command in (("status",), ("status", "--output=json"), ("explain",), ("explain", "--output=json")):
                    shown[command] = await _run(*command, environment=environment)
                assert await running.end() == 0
                assert all(harmless(line) for line in running.others)
                assert harmless(running.stderr)
            assert "owned" in shown["status",]
            assert all(harmless(text) for text in shown.values())


async def _run(*words: str, environment: dict[str, str]) -> str:
    import trio  # noqa: PLC0415 - the other tests here are not async

    done = await trio.run_process([PORTSIDE, *words], env=environment, capture_stdout=True, stderr=subprocess.STDOUT)
    return done.stdout.decode()


@given(st.text())
def test_an_answer_of_explain(text: str) -> None:
    """Both outputs of explain are harmless; JSON decodes to the same text."""
    record = ExplainRecord(
        source="pods",
        resource_type="pod",
        resource_name=text,
        namespace=text,
        container=text,
        remote_port=text,
        protocol=text,
        origin=text,
        forwarded=False,
        rule=text,
        reason=text,
        forwards=(),
    )
    assert harmless(instance_commands._verdict_line(record, ""))
    assert "\n" not in instance_commands._verdict_line(record, "")
    line = json_line(record)
    assert harmless(line)
    assert json.loads(line)["rule"] == text


@pytest.mark.parametrize(
    "error",
    [
        ApiError(f"cannot list pods: {HOSTILE}", 500),
        click.UsageError(HOSTILE),
        ExceptionGroup("", [ApiError(HOSTILE, 1)]),
    ],
    ids=["an error of the cluster's", "a mistake in usage", "several at once"],
)
def test_an_error_that_ends_the_program(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A fatal error is one harmless line on stderr, whatever its text."""

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(main, "portside", fail)
    monkeypatch.setattr(main.portside, "main", fail, raising=False)
    with pytest.raises(SystemExit):
        main.main()
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert harmless(said)


def test_no_shell_is_ever_used() -> None:
    """No source file starts a shell with a text; programs are started with lists of arguments."""
    root = Path(main.__file__).parents[2]
    sources = [*root.glob("watcher/**/*.py"), *root.glob("forwarders/**/*.py")]
    assert len(sources) > 50
    for path in sources:
        text = path.read_text()
        for word in ("shell=True", "os.system", "os.popen", "getoutput", "create_subprocess_shell", "/bin/sh"):
            assert word not in text, path


def test_a_hostile_runtime_file(tmp_path: Path) -> None:
    """A hostile runtime file is only data: `status` prints nothing harmful."""
    folder = tmp_path / "portside"
    folder.mkdir(mode=0o700)
    (folder / "1.json").write_text(json.dumps({"pid": 1, "url": HOSTILE, "command": HOSTILE, "folder": "/"}))
    result = CliRunner().invoke(instance_commands.status_command, env={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert harmless(result.output)


# By name, so that this file does not hide anything itself.
INVISIBLE_OR_TURNING = (
    "LEFT-TO-RIGHT MARK", "RIGHT-TO-LEFT MARK", "ARABIC LETTER MARK", "ZERO WIDTH SPACE", "ZERO WIDTH NO-BREAK SPACE",
    "ZERO WIDTH JOINER", "ZERO WIDTH NON-JOINER", "WORD JOINER", "SOFT HYPHEN", "RIGHT-TO-LEFT OVERRIDE",
    "FIRST STRONG ISOLATE", "POP DIRECTIONAL FORMATTING", "LINE SEPARATOR", "PARAGRAPH SEPARATOR", "LANGUAGE TAG",
    "MONGOLIAN VOWEL SEPARATOR", "HANGUL FILLER", "BRAILLE PATTERN BLANK", "INTERLINEAR ANNOTATION ANCHOR",
)  # fmt: skip


@pytest.mark.parametrize("name", INVISIBLE_OR_TURNING)
def test_what_hides_or_turns_words_is_seen(name: str) -> None:
    """An invisible character is one sign in a line, and an escape of itself in JSON."""
    character = unicodedata.lookup(name)
    assert printable(f"a{character}b") == "a\ufffdb"
    line = json_line({"reason": f"a{character}b"})
    assert line.isascii()
    assert json.loads(line) == {"reason": f"a{character}b"}


def test_every_space_is_a_space() -> None:
    """All kinds of spaces are shown as the ordinary space, since they look alike."""
    spaces = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Zs"]
    assert len(spaces) > 15
    assert {printable(f"a{space}b") for space in spaces} == {"a b"}


def test_half_a_character_can_be_written() -> None:
    """A folder name that is not UTF-8 (surrogateescape) can be printed."""
    assert printable("caf\udce9").encode() == "caf\ufffd".encode()


def test_words_of_the_world_stay() -> None:
    """Ordinary text of any language is unchanged."""
    words = "Grüße, 日本語, Ελλάδα, русский, العربية, עברית, हिन्दी, 🚀 100 %"
    assert printable(words) == words
