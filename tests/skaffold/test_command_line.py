"""Skaffold's command line as pflag and cobra read it, its variables, and what is started instead."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from watcher.errors import UsageError
from watcher.skaffold.command_line import SkaffoldCommand, child_environment, is_skaffold, read_command, rewritten


def line(text: str, **environ: str) -> SkaffoldCommand:
    return read_command(shlex.split(text), environ)


def started(text: str, **environ: str) -> str:
    return " ".join(rewritten(line(text, **environ), 50055))


def test_nothing_given() -> None:
    """A bare `skaffold dev` has Skaffold's defaults."""
    command = line("skaffold dev")
    assert (command.binary, command.command, command.filename) == ("skaffold", "dev", "skaffold.yaml")
    assert (command.profiles, command.modules) == ((), ())
    assert (command.namespace, command.kube_context, command.kubeconfig) == ("", "", "")
    assert (command.rpc_http_port, command.port_forward) == (None, None)


@pytest.mark.parametrize(
    "words",
    [
        "-n foo",
        "-nfoo",
        "-n=foo",
        "--namespace foo",
        "--namespace=foo",
        "-n bar --namespace foo",
        "--tail -n foo",
        "-qnfoo",
    ],
)
def test_spellings_of_a_flag(words: str) -> None:
    """pflag's spellings of one value, the last of several winning, before and after the subcommand."""
    assert line(f"/opt/bin/skaffold dev {words}").namespace == "foo"
    assert line(f"/opt/bin/skaffold {words} dev").namespace == "foo"


@pytest.mark.parametrize("words", ["-p a -p b,c", "-pa,b -p=c", "--profile a --profile=b,c", "-p 'a,\"b\"' -pc"])
def test_lists(words: str) -> None:
    """Lists are repeated flags, comma-separated values, or both."""
    assert line(f"skaffold dev {words}").profiles == ("a", "b", "c")


def test_every_flag_read() -> None:
    """All that portside must know is found in one long line."""
    command = line(
        "skaffold -v debug --timestamps -f k8s/s.yaml debug -m web,api -m db --kube-context kind --kubeconfig=/k "
        "--rpc-http-port 50051 --port-forward=user,debug -p -local --build-concurrency -1 -t v1 --cleanup=false"
    )
    assert (command.command, command.filename, command.modules) == ("debug", "k8s/s.yaml", ("web", "api", "db"))
    assert (command.kube_context, command.kubeconfig, command.rpc_http_port) == ("kind", "/k", 50051)
    assert (command.port_forward, command.profiles) == ("user,debug", ("-local",))


def test_filename_may_be_standard_input() -> None:
    """`-f -` is a file name."""
    assert line("skaffold dev -f - -n x").filename == "-"


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("", None),
        ("--port-forward", "true"),
        ("--port-forward=services", "services"),
        ("--port-forward=user --port-forward=off", "off"),
        ("--port-forward=off --port-forward", "true"),
        ("--port-forward user", "user"),
        ("--port-forward user,debug", "user,debug"),
        ("--port-forward usr", "true"),
        ("--port-forward=", ""),
        ("-- --port-forward=pods", None),
    ],
)
def test_port_forward(words: str, asked: str | None) -> None:
    """The flag takes no following word, the last one wins, and behind `--` nothing is a flag."""
    assert line(f"skaffold dev {words}").port_forward == asked


def test_variables() -> None:
    """Every flag has its SKAFFOLD_ variable."""
    command = line(
        "skaffold dev",
        SKAFFOLD_FILENAME="s.yml",
        SKAFFOLD_PROFILE="a,b",
        SKAFFOLD_MODULE="m",
        SKAFFOLD_NAMESPACE="ns",
        SKAFFOLD_KUBE_CONTEXT="kind",
        SKAFFOLD_KUBECONFIG="/k",
        SKAFFOLD_RPC_HTTP_PORT="50051",
        SKAFFOLD_PORT_FORWARD="services",
    )
    assert (command.filename, command.profiles, command.modules) == ("s.yml", ("a", "b"), ("m",))
    assert (command.namespace, command.kube_context, command.kubeconfig) == ("ns", "kind", "/k")
    assert (command.rpc_http_port, command.port_forward) == (50051, "services")


def test_a_flag_wins_over_its_variable_and_lists_add_up() -> None:
    """pflag sets the variable first: single values are replaced, lists are appended to."""
    environ = {"SKAFFOLD_NAMESPACE": "a", "SKAFFOLD_PROFILE": "a", "SKAFFOLD_PORT_FORWARD": "user"}
    command = line("skaffold dev -n b -p b --port-forward=off", **environ)
    assert (command.namespace, command.profiles, command.port_forward) == ("b", ("a", "b"), "off")


def test_the_old_namespace_variable() -> None:
    """SKAFFOLD_DEPLOY_NAMESPACE still works where nothing newer is set."""
    assert line("skaffold dev", SKAFFOLD_DEPLOY_NAMESPACE="old").namespace == "old"
    assert line("skaffold dev", SKAFFOLD_DEPLOY_NAMESPACE="old", SKAFFOLD_NAMESPACE="new").namespace == "new"


@pytest.mark.parametrize("text", ["x", "0", "-1", "65536", "²", "9" * 5000])
def test_bad_port(text: str) -> None:
    """A port flag that is no port is refused; such a variable is ignored, as by Skaffold."""
    with pytest.raises(UsageError, match="--rpc-http-port"):
        line(f"skaffold dev --rpc-http-port={text}")
    assert line("skaffold dev", SKAFFOLD_RPC_HTTP_PORT=text).rpc_http_port is None


@pytest.mark.parametrize("words", ["-n", "--namespace", "dev -f", "--rpc-http-port"])
def test_missing_value(words: str) -> None:
    """A flag without its value is refused by name."""
    with pytest.raises(UsageError, match=words.rsplit(maxsplit=1)[-1]):
        line(f"skaffold dev {words}")


@pytest.mark.parametrize(
    "text",
    [
        "skaffold delete",
        "skaffold",
        "skaffold --help",
        "skaffold render -f x",
        "skaffold -- dev",
        "skaffold -n dev",
    ],
)
def test_what_cannot_be_run(text: str) -> None:
    """Anything that serves no events is refused, naming what works."""
    with pytest.raises(UsageError, match="dev, debug, run or deploy"):
        line(text)


def test_nothing_to_run() -> None:
    """No words at all are refused with an example."""
    with pytest.raises(UsageError, match="skaffold dev"):
        read_command([], {})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("skaffold dev", "skaffold dev --port-forward=off --rpc-http-port=50055"),
        ("skaffold run --port-forward -n x", "skaffold run --port-forward=off --rpc-http-port=50055 -n x"),
        (
            "skaffold dev -p a --port-forward=user --port-forward",
            "skaffold dev --port-forward=off --rpc-http-port=50055 -p a",
        ),
        (
            "skaffold dev --port-forward user -n x",
            "skaffold dev --port-forward=off --rpc-http-port=50055 -n x",
        ),
        ("skaffold --port-forward dev", "skaffold dev --port-forward=off --rpc-http-port=50055"),
        ("skaffold debug --rpc-http-port 1234", "skaffold debug --port-forward=off --rpc-http-port 1234"),
        ("skaffold -f a.yaml deploy -- x", "skaffold -f a.yaml deploy --port-forward=off --rpc-http-port=50055 -- x"),
        ("skaffold apply a.yaml", "skaffold apply --rpc-http-port=50055 a.yaml"),
        ("skaffold build", "skaffold build --rpc-http-port=50055"),
        (
            "skaffold exec act -- --port-forward",
            "skaffold exec --port-forward=off --rpc-http-port=50055 act -- --port-forward",
        ),
    ],
)
def test_what_is_started(given: str, expected: str) -> None:
    """Skaffold's own forwarding is off, the API is on, and every other word stands as it was."""
    assert started(given) == expected


def test_a_port_from_the_environment_is_kept() -> None:
    """Where a variable names the API's port no flag is added."""
    assert started("skaffold dev", SKAFFOLD_RPC_HTTP_PORT="50051") == "skaffold dev --port-forward=off"


WORDS = st.lists(
    st.sampled_from(
        [
            "-f",
            "a",
            "-p",
            "--",
            "-",
            "--port-forward",
            "--port-forward=user",
            "--tail",
            "-nfoo",
            "--kube-context",
            "x=y",
            "--x=",
            "-",
            "dev",
        ]
    )
    | st.text(max_size=4)
)


@example(["--tail", "--port-forward"], [])
@given(WORDS, WORDS)
def test_rewriting_is_stable(before: list[str], after: list[str]) -> None:
    """Whatever the words: all but --port-forward keep their order, and what is started means the same."""
    try:
        command = read_command(["skaffold", *before, "dev", *after], {})
    except UsageError:
        return
    words = rewritten(command, 50055)
    again = read_command(words, {})
    assert again.port_forward == (None if command.command in {"build", "test", "apply"} else "off")
    assert again.rpc_http_port in {command.rpc_http_port, 50055}
    assert (again.filename, again.profiles, again.namespace) == (command.filename, command.profiles, command.namespace)
    added = {"--port-forward=off", "--rpc-http-port=50055"}
    rest = [word for word in words if word not in added]
    position = iter(command.words)
    assert all(word in position for word in rest)


WRAPPERS = [
    "make dev",
    "npm run dev",
    "./dev.sh -n x",
    "/usr/bin/env skaffold dev",
    "make skaffold",
    "env skaffold build",
]


@pytest.mark.parametrize("words", [*WRAPPERS, "dev"])
def test_a_wrapper_keeps_its_words(words: str) -> None:
    """What its Skaffold is told stands in its environment; what it is asked by variables holds for portside too."""
    environ = {"SKAFFOLD_PROFILE": "p", "SKAFFOLD_PORT_FORWARD": "services", "SKAFFOLD_NAMESPACE": "own"}
    command = line(words, **environ)
    assert rewritten(command, 50055) == shlex.split(words)
    assert (command.line, command.binary, command.command) == (None, "skaffold", "dev")
    assert (command.profiles, command.port_forward, command.namespace) == (("p",), "services", "own")
    told = {"SKAFFOLD_PORT_FORWARD": "off", "SKAFFOLD_RPC_HTTP_PORT": "50055"}
    assert child_environment(command, 50055, environ) == environ | told


@pytest.mark.parametrize("prefix", ["env X=1", "time", "nice -n 5", "doppler run --", "./with-login.sh"])
def test_a_wrapped_command_line_is_read_where_it_is_seen(prefix: str) -> None:
    """Its words stay as they are; command, profile, folder and namespace are what they say."""
    words = f"{prefix} /opt/skaffold debug -p p -f k8s/skaffold.yaml -n own --rpc-http-port 50099"
    command = line(words, SKAFFOLD_PROFILE="q")
    assert rewritten(command, 50099) == shlex.split(words)
    assert (command.line, command.binary, command.command) == (None, "/opt/skaffold", "debug")
    assert (command.profiles, command.filename, command.namespace) == (("q", "p"), "k8s/skaffold.yaml", "own")
    assert command.rpc_http_port == 50099
    assert child_environment(command, 50099, {})["SKAFFOLD_PORT_FORWARD"] == "off"


def test_skaffold_itself_gets_the_environment_as_it_is() -> None:
    """It is told by its words."""
    assert child_environment(line("skaffold dev"), 50055, {"A": "b"}) == {"A": "b"}


@pytest.mark.parametrize(
    ("program", "known"),
    [
        ("skaffold", True),
        ("/opt/bin/skaffold", True),
        ("skaffold.exe", True),
        ("skaffold-v2.16.1", True),
        ("skaffold2", True),
        ("skaffold-linux-amd64", True),
        ("skaffold.sh", False),
        ("skaffold-dev", False),
        ("my-skaffold", False),
        ("make", False),
        ("", False),
    ],
)
def test_skaffold_is_known_by_its_name(program: str, *, known: bool) -> None:
    """As it is installed and as it is downloaded; a script that is named after it is a wrapper."""
    assert is_skaffold(program, "") is known


def test_a_link_to_skaffold_is_skaffold(tmp_path: Path) -> None:
    """By whatever name, on PATH or by its path."""
    (tmp_path / "skaffold").write_text("#!/bin/sh\n")
    (tmp_path / "skaffold").chmod(0o755)
    (tmp_path / "sk").symlink_to("skaffold")
    assert is_skaffold("sk", str(tmp_path))
    assert is_skaffold(str(tmp_path / "sk"), "")
    assert not is_skaffold("sk", "")
