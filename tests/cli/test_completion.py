"""Completion: the scripts for three shells, and the words that Tab offers.

bash is real. The tests speak click's protocol for zsh and fish, as their scripts do (COMP_WORDS, COMP_CWORD).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.pods import Port
from fixtures.embedded.web import web
from tests.cli.made import NAMESPACE, Place, closed_port, kubeconfig
from tests.support.process import PORTSIDE, portside
from watcher.cli.completion import CLUSTER_WITHIN, WITHIN_VARIABLE, names_in_cluster, offered
from watcher.cluster.kinds import SERVICE

# What readline does when Tab is pressed at the end of a line: it calls the function with the last part of the word
# (bash splits words at `:` and `=`), and shows COMPREPLY.
TAB = """
eval "$(portside completion bash)"
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
_portside_completion portside "$2"
printf '%s\\n' "${COMPREPLY[@]}"
"""
# Contexts as clouds name them, and one that a shell would execute.
CLOUD, HOSTILE_CONTEXT, COMMA = "arn:aws:eks:eu-1:123:cluster/shop", "my $(touch x) `touch x` 'q' \"d\" *", "a,b"


def tab(place: Place, *words: str) -> list[str]:
    """The words that bash offers for the last one."""
    path = f"{os.path.dirname(PORTSIDE)}:{os.environ['PATH']}"
    environment = place.environment | {"PATH": path, WITHIN_VARIABLE: "30"}  # the machine may be busy
    line, part = " ".join(("portside", *words)), re.split("[:=]", words[-1])[-1]
    done = subprocess.run(
        ["bash", "-c", TAB, "bash", line, part], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    return [offer for offer in done.stdout.splitlines() if offer]


def answer(place: Place, shell: str, words: str, word: str) -> list[str]:
    """The answer that the script of zsh or fish reads."""
    index = word if shell == "fish" else str(len(words.split()) - 1)
    variables = {"_PORTSIDE_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": index}
    done = place.portside(**variables)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.fixture
def contexts(place: Place) -> Place:
    """A place whose kubeconfig has several contexts; the API server does not run."""
    config = json.loads(kubeconfig(closed_port()))
    names = {CLOUD: "shop", HOSTILE_CONTEXT: "dev", COMMA: ""}
    config["contexts"] += [
        {"name": name, "context": {"cluster": "here", "user": "nobody", "namespace": namespace}}
        for name, namespace in names.items()
    ]
    place.environment["KUBECONFIG"] = place.write("several", json.dumps(config))
    return place


def test_commands_and_options_in_bash(place: Place) -> None:
    """Tab completes commands, options and the values of an argument."""
    assert shutil.which("bash")
    assert tab(place, "w") == ["watch", "wait"]
    assert "--exec-timeout" in tab(place, "forward", "--exec")
    assert tab(place, "completion", "") == ["bash", "zsh", "fish"]
    assert tab(place, "wait", "svc/") == []  # no portside runs here: nothing to offer, nothing to say


async def test_what_runs_is_offered(place: Place) -> None:
    """`wait` completes what running portsides have seen, also with a type's short form."""
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
    """A name with a special character is hostile, since names in Kubernetes and Docker have none."""
    good = ["pod/web-0", "deploy/api.v1", "container/my_app"]
    assert offered([*HOSTILE, *good], "") == sorted(good)
    assert offered([*HOSTILE, *good], "pod/") == ["pod/web-0"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_asks_us(place: Place, shell: str) -> None:
    """Each script sets click's variable; the command prints nothing on stderr."""
    done = place.portside("completion", shell, PATH=os.environ["PATH"])
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_PORTSIDE_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.parametrize(("shell", "index", "word"), [("zsh", "1", "plain\nwait"), ("fish", "wa", "plain,wait")])
def test_the_answer_in_their_words(place: Place, shell: str, index: str, word: str) -> None:
    """zsh and fish get each word in the form that their script parses."""
    variables = {"_PORTSIDE_COMPLETE": f"{shell}_complete", "COMP_WORDS": "portside wa", "COMP_CWORD": index}
    assert word in place.portside(**variables).stdout


def test_another_shell(place: Place) -> None:
    """A shell without a script is an error of one line, with exit code 2."""
    done = place.portside("completion", "tcsh")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("arn", CLOUD),
        ("arn:aws:eks:", CLOUD),
        ('"arn:aws:eks:', CLOUD),
        ("my", HOSTILE_CONTEXT),
        (r"my\ \$", HOSTILE_CONTEXT),
        ("a,", COMMA),
    ],
)
@pytest.mark.parametrize("option", ["--kube-context ", "--kube-context="])
def test_a_context_in_bash(contexts: Place, typed: str, name: str, option: str) -> None:
    """bash parses what it inserted as exactly the context's name, whatever characters that has."""
    part = re.split("[:=]", typed)[-1]
    [inserted] = tab(contexts, *f"watch {option}{typed}".split(" ", 2 if option.endswith(" ") else 1))
    line = f"{typed.removesuffix(part)}{inserted}" + ('"' if typed.startswith('"') else "")
    done = subprocess.run(["bash", "-c", f"printf %s {line}"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == name
    assert not (contexts.folder / "x").exists()


@pytest.mark.parametrize("option", ["--kube-context ", "--kube-context="])
def test_a_context_in_zsh_and_fish(contexts: Place, option: str) -> None:
    """zsh and fish quote by themselves. They replace the whole word, so it repeats `--option=`; a comma is kept."""
    before = option.strip() if option.endswith("=") else ""
    for typed, name in (("arn:aws", CLOUD), ("a,", COMMA)):
        word = f"{before}{typed}"
        assert answer(contexts, "zsh", f"portside watch {option}{typed}", word) == ["plain", f"{before}{name}", "_"]
        assert answer(contexts, "fish", f"portside watch {option}{typed}", word) == [f"plain,{before}{name}"]
    assert "string split -m 1" in contexts.portside("completion", "fish").stdout


def test_modes_files_and_the_kubeconfigs_namespaces(contexts: Place) -> None:
    """After a comma Tab offers the modes that are not typed yet; the shell completes files itself."""
    assert tab(contexts, "run", "--port-forward", "") == ["user", "services", "debug", "pods", "off", "true", "false"]
    assert tab(contexts, "run", "--port-forward=user,") == ["user,services", "user,debug", "user,pods"]
    assert tab(contexts, "wait", "-n", "") == ["dev", "shop"]
    for words in ("run -f", "watch --kubeconfig", "forward --env-file", "forward --status-token-file"):
        assert answer(contexts, "fish", f"portside {words} so", "so") == ["file,so"]


async def test_targets_from_the_cluster(cluster: EmbeddedCluster, place: Place) -> None:
    """`forward` lists objects of the namespace and context given on the line; the typed form of the type stays."""
    cluster.service("api", {"app": "web"}, [{"port": 80}], namespace="other")
    await cluster.pod("solo", [Port(8080, web("hello"), "http")], namespace=NAMESPACE)
    expected = {
        ("svc/",): ["svc/web"],
        ("-n", "other", "services/"): ["services/api"],
        ("deploy/w",): ["deploy/web"],
        ("pod/so",): ["pod/solo"],
        ("svc/web", "8080", "deployment/"): ["deployment/web"],
        ("--context", "nowhere", "svc/"): [],
        ("nonsense/",): [],
        ("svc",): [],
    }
    found = {words: await trio.to_thread.run_sync(tab, place, "forward", *words) for words in expected}
    assert found == expected


async def test_namespaces_from_the_cluster(place: Place) -> None:
    """-n lists the cluster's namespaces and those of the kubeconfig."""
    items = ",".join(f'{{"metadata":{{"name":"{name}"}}}}' for name in ("payments", "shop"))
    body = f'{{"kind":"List","metadata":{{"resourceVersion":"1"}},"items":[{items}]}}'

    async def serve(stream: trio.SocketStream) -> None:
        assert b"GET /api/v1/namespaces?" in await stream.receive_some()
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:"
        await stream.send_all(f"{head} {len(body)}\r\n\r\n{body}".encode())

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), serve, 0)
        port = listener.socket.getsockname()[1]
        place.environment["KUBECONFIG"] = place.write("served", kubeconfig(port))
        assert await trio.to_thread.run_sync(tab, place, "forward", "-n", "") == ["payments", "shop"]
        nursery.cancel_scope.cancel()


async def test_a_cluster_that_is_silent(place: Place, autojump_clock: MockClock) -> None:
    """Without an answer there is no offer after 0.3 s."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        path = place.write("silent", kubeconfig(port))
        began = trio.current_time()
        assert await names_in_cluster(path, None, SERVICE, "") == []
        assert trio.current_time() - began == pytest.approx(CLUSTER_WITHIN)
        await listeners[0].aclose()
        nursery.cancel_scope.cancel()


def test_no_login_plugin_is_started_and_nothing_is_said(place: Place) -> None:
    """Tab runs no login plugin, and prints no error for a broken kubeconfig or an API server that does not run."""
    config = json.loads(kubeconfig(closed_port()))
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": [str(place.folder / "ran")]}
    config["users"][0]["user"] = {"exec": plugin | {"interactiveMode": "IfAvailable"}}
    for text in (json.dumps(config), kubeconfig(closed_port()), "clusters: [", "[]"):
        place.write("kubeconfig", text)
        assert tab(place, "forward", "svc/") == []
        assert tab(place, "forward", "-n", "x") == []
        tab(place, "watch", "--kube-context", "")
    assert not (place.folder / "ran").exists()
