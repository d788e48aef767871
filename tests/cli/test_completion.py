"""Completion: the three scripts, and what they are told when somebody presses Tab.

bash is real. zsh and fish are spoken to in click's protocol, as their scripts do (COMP_WORDS, COMP_CWORD).
"""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
import trio

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.pods import Port
from fixtures.embedded.web import web
from tests.cli.made import Place
from tests.support.process import PORTSIDE, portside
from watcher.cli.utility_commands import offered

# What readline does when Tab is pressed behind the words: calls the function, shows COMPREPLY.
TAB = """
eval "$(portside completion bash)"
COMP_WORDS=(portside "$@"); COMP_CWORD=$#; COMP_TYPE=9
_portside_completion portside
printf '%s\\n' "${COMPREPLY[@]}"
"""


def tab(place: Place, *words: str) -> list[str]:
    """What bash offers for the last word."""
    environment = place.environment | {"PATH": f"{os.path.dirname(PORTSIDE)}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", TAB, "bash", *words], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_and_options_in_bash(place: Place) -> None:
    """Every command, every option."""
    assert shutil.which("bash")
    assert tab(place, "w") == ["watch", "wait"]
    assert "--exec-timeout" in tab(place, "forward", "--exec")
    assert tab(place, "completion", "") == ["bash", "zsh", "fish"]
    assert tab(place, "wait", "svc/") == []  # no portside runs here: nothing to offer, nothing to say


async def test_what_runs_is_offered(place: Place) -> None:
    """TYPE/NAME of what the portsides here have seen, in short forms too."""
    async with EmbeddedCluster.open() as cluster:
        await cluster.deployment("web", [Port(8080, web("hello"), "http")])
        cluster.service("web", {"app": "web"}, [{"port": 8080}])
        place.environment["KUBECONFIG"] = str(cluster.kubeconfig(place.folder / "embedded"))
        words = ("forward", "svc/web", ":8080", "deploy/web", ":8080")
        async with portside(*words, environment=place.environment, folder=place.folder) as program:
            await program.ready("web", resourceType="service")
            offered = {}
            for typed in ("", "ser", "svc/w", "deploy/", "pod/"):
                offered[typed] = await trio.to_thread.run_sync(tab, place, "wait", typed)
            assert offered == {
                "": ["deployment/web", "service/web"],
                "ser": ["service/web"],
                "svc/w": ["svc/web"],
                "deploy/": ["deploy/web"],
                "pod/": [],
            }


HOSTILE = [
    "pod/a b",
    "pod/$(touch x)",
    "pod/`x`",
    "pod/a;b",
    "pod/a'b",
    'pod/a"b',
    "pod/a\nb",
    "pod/a*",
    "-x/y",
    "pod/ü",
    "pod/",
]


def test_names_that_a_shell_would_read_are_not_offered() -> None:
    """A shell inserts what it is given; no name in Kubernetes or Docker needs a quote."""
    good = ["pod/web-0", "deploy/api.v1", "container/my_app"]
    assert offered([*HOSTILE, *good], "") == sorted(good)
    assert offered([*HOSTILE, *good], "pod/") == ["pod/web-0"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_asks_us(place: Place, shell: str) -> None:
    """It names the variable by which click is asked, and nothing else is said."""
    done = place.portside("completion", shell, PATH=os.environ["PATH"])
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_PORTSIDE_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.parametrize(("shell", "index", "word"), [("zsh", "1", "plain\nwait"), ("fish", "wa", "plain,wait")])
def test_the_answer_in_their_words(place: Place, shell: str, index: str, word: str) -> None:
    """As their scripts read it."""
    variables = {"_PORTSIDE_COMPLETE": f"{shell}_complete", "COMP_WORDS": "portside wa", "COMP_CWORD": index}
    assert word in place.portside(**variables).stdout


def test_another_shell(place: Place) -> None:
    """One line, exit code 2."""
    done = place.portside("completion", "tcsh")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
