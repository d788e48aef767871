"""A login plugin, run as client-go runs it: what it is told, what it may say, how long it may take, how it may end."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio

from tests.cluster_client.test_credentials import credential, loaded
from tests.support.process import gone
from watcher.cluster import plugin as running
from watcher.cluster import plugin_output
from watcher.cluster.kubeconfig import SelectedContext
from watcher.cluster.plugin import ask_plugin
from watcher.cluster.plugin_output import PluginCredential, PluginWords
from watcher.errors import KubeconfigError
from watcher.safe_yaml import first_document

V1 = "client.authentication.k8s.io/v1"
BOMB_OF_ALIASES = "[&a0 [x], " + ", ".join(f"&a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)) + "]"
SECRET = "eyJhbGciOiJub25lIn0.c2VjcmV0.c2ln"


def user(code: str, **more: Any) -> dict[str, Any]:
    return {"exec": {"apiVersion": V1, "command": sys.executable, "args": ["-c", code], **more}}


async def asked(code: str, *, starting: bool = True, cluster: dict[str, Any] | None = None, **more: Any) -> Any:
    """What the plugin gave, or the one line that says why not."""
    selected = SelectedContext("config", "dev", "", "dev", cluster or {}, "dev", user(code, **more))
    try:
        return await ask_plugin(selected, starting=starting)
    except KubeconfigError as error:
        return str(error)


def prints(**status: Any) -> str:
    return f"import json, os, sys, time\n{credential(**status)}"


async def test_what_a_plugin_is_told() -> None:
    """Its own variables, ours, and about the cluster only what it asks for."""
    tell = f"""import json, os
told = json.loads(os.environ['KUBERNETES_EXEC_INFO'])
found = [told, os.environ['EXTRA'], 'PATH' in os.environ]
status = {{'token': json.dumps(found)}}
print(json.dumps({{'apiVersion': '{V1}', 'kind': 'ExecCredential', 'status': status}}))"""
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}
    cluster = {"server": "https://a", "certificate-authority-data": "Y2E=", "extensions": [extension]}
    more: dict[str, Any] = {"env": [{"name": "EXTRA", "value": "x"}], "interactiveMode": "Never"}
    told, extra, path = json.loads((await asked(tell, cluster=cluster, provideClusterInfo=True, **more)).token)
    assert (extra, path) == ("x", True)
    assert told == {
        "apiVersion": V1,
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            "cluster": {"server": "https://a", "certificate-authority-data": "Y2E=", "config": {"audience": "a"}},
        },
    }
    told, _, _ = json.loads((await asked(tell, cluster=cluster, **more)).token)
    assert told["spec"] == {"interactive": False}


@pytest.mark.parametrize("starting", [True, False], ids=["start", "renewal"])
async def test_what_a_plugin_says_is_shown_and_its_credential_is_used(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, *, starting: bool
) -> None:
    """Also what it says in success: as it is while nothing else is there, as lines of ours later."""
    code = prints(token="t") + "\nsys.stderr.write('open https://login.test and enter ABCD\\n')"
    assert await asked(code, starting=starting) == PluginCredential(token="t")
    shown = capfd.readouterr().err if starting else caplog.text
    assert "open https://login.test and enter ABCD" in shown


async def test_a_prompt_is_shown_while_the_plugin_waits(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Half a line, before the plugin has ended: whoever reads it makes the plugin go on."""
    os.mkfifo(tmp_path / "answer")
    code = "import sys; sys.stderr.write('code: '); sys.stderr.flush()\n"
    code += f"open({str(tmp_path / 'answer')!r}).read()\n" + prints(token="t")
    seen = ""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked, code)
        with trio.fail_after(60):
            while "code: " not in seen:
                await trio.sleep(0.05)  # a real process writes to a real descriptor
                seen += capfd.readouterr().err
        await trio.Path(tmp_path / "answer").write_text("go on")


async def test_all_words_of_a_failure_and_none_twice(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin that fails at once is heard in the error alone; colours and ends of line are not."""
    monkeypatch.setattr(plugin_output, "HOLD", 30.0)  # "at once" on a busy machine
    said = await asked("import sys; sys.exit('\\x1b[31mfirst line\\x1b[0m\\nsecond line\\n)')")
    assert said.endswith("failed (exit code 1): first line second line )")
    assert capfd.readouterr().err == ""


async def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    """Neither the cause nor the advice is lost, and no page of text is one line."""
    said = await asked("import sys; sys.exit('BEGIN' + 100_000 * ' word' + ' END')")
    assert "BEGIN" in said
    assert said.endswith("END")
    assert len(said) < 3000


async def test_no_secret_is_in_an_error() -> None:
    """Not what the plugin printed, not a token it complains about, not a password of its environment."""
    code = f"{prints(token=SECRET)}\nsys.exit('bad {SECRET} and opaque-token and ' + os.environ['CLIENT_SECRET'])"
    said = await asked(code, env=[{"name": "CLIENT_SECRET", "value": "hush-hush"}])
    assert "failed (exit code 1): bad *** and" in said
    assert SECRET not in said
    assert "hush-hush" not in said
    said = await asked("import sys; print('{\"kind\": \"x'); sys.exit('no')")
    assert said.endswith("(exit code 1): no")


def test_what_only_begins_like_a_token_is_hidden_at_once() -> None:
    """A run of such beginnings without an end costs no time that grows with its square."""

    async def show(_: bytes) -> None:
        raise AssertionError

    assert PluginWords(show).plain(b"eyJ" * 80_000 + b" said") == "*** said"


async def test_a_secret_option_or_key_is_in_no_error() -> None:
    """Many plugins repeat their command line, and some what they read."""
    code = "import sys; sys.exit(' '.join(sys.argv) + ' -----BEGIN EC PRIVATE KEY-----\\nMHcCAQEE\\n-----END EC')"
    said = await asked(
        code, args=["-c", code, "get-token", "--client-secret=hush-hush", "--password", "quiet-now", "--x"]
    )
    assert "get-token --client-secret=*** --password *** --x -----BEGIN EC PRIVATE KEY-----***-----END EC" in said


@pytest.mark.parametrize("text", ["5", "&x [*x]", "{? !!binary aGk= : 1}", BOMB_OF_ALIASES])
async def test_any_extensions_are_passed_on_or_refused(text: str) -> None:
    """They may be no list, contain themselves, have keys that JSON has not, or be gigabytes when written out."""
    value = first_document(f"bomb: {text}".encode())["bomb"]
    given = value if text == "5" else [{"name": "client.authentication.k8s.io/exec", "extension": value}]
    found = await asked(prints(token="t"), cluster={"extensions": given}, provideClusterInfo=True)
    refusal = "cannot be given to the login plugin"
    assert found.token == "t" if isinstance(found, PluginCredential) else refusal in found


async def test_a_plugin_that_hangs_is_named_and_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once within two seconds; at the deadline nothing of it is left, whoever started what."""
    monkeypatch.setattr(running, "DEADLINE", 15.0)
    pids = tmp_path / "pids"
    code = "import os, subprocess, sys, time\nsleeper = [sys.executable, '-c', 'import time; time.sleep(1000)']\n"
    code += f"child = subprocess.Popen(sleeper).pid\nopen({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child}}')\n"
    code += "print('asking the server', file=sys.stderr, flush=True)\ntime.sleep(1000)"
    with trio.fail_after(60):
        said = await asked(code, starting=False, interactiveMode="Never")
    assert said.endswith("did not answer within 15 s and was ended: asking the server")
    assert caplog.text.count("waiting for the login plugin") == 1
    for pid in map(int, pids.read_text().split()):
        with suppress(ProcessLookupError), trio.fail_after(60):
            await gone(pid)


async def test_a_process_that_a_plugin_leaves_behind_holds_nobody_up(tmp_path: Path) -> None:
    """An agent that keeps the pipes open: the credential is there, and it is used."""
    code = prints(token="t") + "\nsys.stdout.flush()\nimport subprocess\n"
    code += f"pid = subprocess.Popen(['sleep', '1000']).pid\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(pid))"
    with trio.fail_after(60):
        assert await asked(code) == PluginCredential(token="t")
    os.kill(int((tmp_path / "pid").read_text()), 9)


async def test_a_plugin_that_is_left_is_ended(tmp_path: Path) -> None:
    """Who gives up (Ctrl-C, doctor's deadline) leaves no process."""
    os.mkfifo(tmp_path / "pid")
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(1000)"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked, code)
        pid = int(await trio.Path(tmp_path / "pid").read_text())
        nursery.cancel_scope.cancel()
    assert not psutil.pid_exists(pid)


async def test_stdout_and_stderr_without_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood on either ends the plugin, or is thrown away; memory does not grow with it."""
    with trio.fail_after(60):
        assert "it printed more than 1 MiB" in await asked("while True: print('x' * 10_000)")
        monkeypatch.setattr(running, "DEADLINE", 2.0)
        said = await asked("import sys\nwhile True: sys.stderr.write('y' * 10_000)", starting=False)
    assert "did not answer within 2 s" in said
    assert len(said) < 3000


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"command": ""}, "exec.command of user .* is missing"),
        ({"command": "no-such", "installHint": "get it at\nexample.test"}, r"No such file.*; get it at example\.test"),
        ({"command": "/etc/passwd", "installHint": "get it"}, "cannot be run: Permission denied; get it"),
        ({"command": "a\0b"}, "exec.command of user .* cannot be run"),
        ({"command": 1}, r"exec of user .* cannot be used: Expected `str`, got `int` - at `\$.command`"),
        ({"args": "x"}, "exec of user .* cannot be used: Expected `array.*`"),
        ({"env": [{"value": "x"}]}, "exec of user .* cannot be used: .*name"),
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, 'exec.apiVersion .* is ".*v1alpha1"; .*v1beta1'),
        ({"apiVersion": ""}, 'exec.apiVersion of user .* is ""'),
        ({"interactiveMode": "Sometimes"}, "exec.interactiveMode .* Never, IfAvailable, Always"),
        ({"interactiveMode": "Always"}, "cannot run: its interactiveMode is Always, and standard input is not a term"),
    ],
)
async def test_an_entry_that_cannot_be_run_is_one_line(tmp_path: Path, entry: dict[str, Any], said: str) -> None:
    """Before any process: the field and what is wrong with it; the hint where the program is missing."""
    with pytest.raises(KubeconfigError, match=said) as raised:
        await loaded(tmp_path, user("", **entry))
    assert "\n" not in str(raised.value)
