"""Bad input is one clear line on stderr and exit code 2, before anything is bound."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from tests.cli.made import Place

WATCH = ("watch", "--skaffold", "http://127.0.0.1:1")
FORWARD = ("forward", "svc/web", "8080")
HEAD = "apiVersion: skaffold/v4beta11\nkind: Config\nportForward:\n"


def refused(place: Place, *words: str, **environment: str) -> str:
    """Checks that the command was refused, and returns its one line."""
    done = place.portside(*words, **environment)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert re.fullmatch(r"portside: .+\n", done.stderr), done.stderr
    assert place.announced == []
    return done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("forward",), "Missing argument"),
        (("forward", "8080"), "'8080' is a port, but no target stands before it"),
        (("forward", "svc/web"), "svc/web has no port|service/web has no port"),
        (("forward", "svc/web", "99999"), "99999"),
        pytest.param(("forward", "svc/web", "9" * 5000), "99999", id="a port of 5000 digits"),
        (("forward", "svc/web", "x:80"), "'x'"),
        (("forward", "svc/web", "1:2:3"), "'1:2:3'"),
        ((*FORWARD, "--address", "999.1.1.1"), "'999.1.1.1' is neither an IP address nor a host name"),
        ((*FORWARD, "--address", "a b"), "'a b'"),
        ((*FORWARD, "--kube-context", "elsewhere"), "elsewhere"),
        ((*FORWARD, "--status", "8080"), "--status 8080"),
        ((*FORWARD, "--status", "example.org:80"), "is not an IP address"),
        ((*FORWARD, "--output", "xml"), "xml"),
        ((*FORWARD, "--hold", "-1"), "-1"),
        ((*FORWARD, "--hold", "nan"), "nan"),
        ((*FORWARD, "--linger", "soon"), "soon"),
        ((*FORWARD, "--max-waiting", "many"), "many"),
        ((*FORWARD, "--no-such-option"), "--no-such-option"),
        ((*FORWARD, "--addres", "::1"), "--address"),
        ((*FORWARD, "--port-forward=usr"), "--port-forward"),
        ((*FORWARD, "-f", "nofile"), "-f"),
        ((*FORWARD, "--profile", "x"), "--profile"),
        ((*FORWARD, "--module", "x"), "--module"),
        ((*FORWARD, "--publish"), "--publish"),
        ((*FORWARD, "--exec-timeout", "5"), "--exec-timeout means nothing without --exec"),
        ((*FORWARD, "--status=off", "--status-token-file=x"), "--status-token-file means nothing without a status"),
        (("watch", "--cluster", "--skaffold", "50052"), "--skaffold means nothing with --cluster"),
        (("watch", "--cluster", "--no-publish"), "--publish means nothing with --cluster"),
        (("status", "--url", "--output=json"), "--output means nothing with --url"),
        (
            ("forward", "svc/web", "8080/udp"),
            "'8080/udp': a port is written without a protocol, and only TCP is forwarded: 8080",
        ),
        (("forward", "svc/web", "80:8080/TCP"), "only TCP is forwarded: 80:8080"),
        (("forward", "svcs/web", "80"), 'did you mean "svc"?'),
        (("forward", "Deploymnt/web", "80"), 'did you mean "deployment"?'),
        (("explain", "serivce/web"), 'did you mean "service"?'),
        (("explain", "svc/web:80"), "without a port"),
        (("no-such-command",), "no-such-command"),
        (("explian",), 'did you mean "explain"?'),
        (("watch", "--skaffold", "http://127.0.0.1:1", "--port-forward=usr"), 'did you mean "user"?'),
        ((*FORWARD, "--kube-context", "heer"), 'did you mean "here"?'),
        (("run", "--", "skaffold", "dve"), 'did you mean "dev"?'),
        (("run", "--", "skaffold", "build"), "`skaffold build` deploys nothing that could be forwarded to"),
        (("run", "--", "skaffold", "-f", "x", "verify"), "deploys nothing"),
        (("watch",), "give --skaffold URL or set SKAFFOLD_RPC_HTTP_PORT"),
        (("watch", "--skaffold", "ftp://x"), "ftp://x"),
        (("watch", "--skaffold", "http://127.0.0.1:99999"), "99999"),
        (("watch", "--skaffold", "http://127.0.0.1:1", "--port-forward=bogus"), 'unknown mode "bogus"'),
        (("watch", "--skaffold", "http://127.0.0.1:1", "--port-forward=off,user"), "cannot be combined"),
        (
            ("watch", "--run-id", "x", "--skaffold", "http://127.0.0.1:1"),
            "--run-id, --selector and --all-n.* go with --cluster",
        ),
        (("watch", "--cluster", "-l", "a=b=c"), "--selector: 'a=b=c' is no label selector"),
        (("watch", "--cluster", "-l", "a", "--run-id", "x"), "--run-id and --selector exclude each other"),
        (("watch", "-A", "--skaffold", "http://127.0.0.1:1"), "go with --cluster"),
        (("watch", "-n", "a", "-n", "b", "--skaffold", "http://127.0.0.1:1"), "-n a -n b: several namespaces need"),
        (("watch", "--cluster", "-A", "-n", "a"), "--namespace and --all-namespaces exclude each other"),
        ((*WATCH, "-f", "missing.yaml"), "missing.yaml cannot be read: No such file or directory"),
        ((*WATCH, "-f", "."), "cannot be read"),
        ((*WATCH, "-p", "staging"), "no skaffold.yaml|there is no profile"),
        (("run",), "Missing argument"),
        (("run", "--", "no-such-make", "all"), "no-such-make was not found"),
        (("run", "--", "skaffold", "render"), "render"),
        (("run", "--", "./no-such-skaffold", "dev"), "no-such-skaffold was not found"),
        (("run", "--", "skaffold", "dev", "--port-forward=bogus"), 'unknown mode "bogus"'),
        (("run", "--", "skaffold", "dev", "--port-forward="), 'unknown mode ""'),
        (("status", "--output", "xml"), "xml"),
        ((*FORWARD, "-n", "a/b"), "--namespace: no namespace can have the name 'a/b'"),
        ((*FORWARD, "-n", "\udcff"), "--namespace: no namespace"),
        (("watch", "--cluster", "-n", "a", "-n", "B"), "--namespace: no namespace can have the name 'B'"),
        ((*WATCH, "-n", "*"), "--namespace: no namespace"),
        (("run", "--", "skaffold", "dev", "-n", "a b"), "--namespace: no namespace|was not found"),
        (("doctor", "-n", "a b"), "--namespace: no namespace"),
        (("wait", "svc/web", "-n", "a/b"), "--namespace: no namespace"),
        (("wait", "--timeout", "nan"), "'nan'"),
        (("wait", "svc/web:"), "'svc/web:': '' is neither a number nor a port's name"),
        (("wait", "svc/web:99999"), "99999"),
        (("wait", "svc/web:²"), "'svc/web:²'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_line(place: Place, words: tuple[str, ...], said: str) -> None:
    """The line names the wrong word."""
    if "-p" in words:
        place.write("skaffold.yaml", HEAD + "  []\n")
    assert re.search(said, refused(place, *words))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [\n\n", "line [123]"),
        ("- a list", "not a mapping"),
        ("kind: Config\n", "missing apiVersion"),
    ],
)
def test_a_broken_skaffold_yaml(place: Place, text: str, said: str) -> None:
    """The line names file, line, field and value."""
    name = place.write("broken.yaml", text)
    assert re.search(f"broken.yaml.*{said}", refused(place, *WATCH, "-f", name))


@pytest.mark.parametrize(
    ("text", "said"),
    [("clusters: [", "kubeconfig"), ("- 1\n", "kubeconfig"), ('{"current-context": "x"}', "x"), ("\0", "kubeconfig")],
)
def test_a_broken_kubeconfig(place: Place, text: str, said: str) -> None:
    """The line names the file and the problem, and quotes only names from the file."""
    place.write("kubeconfig", text)
    assert said in refused(place, *FORWARD)


def test_a_kubeconfig_that_is_not_there(place: Place) -> None:
    """A missing file is an error, whether the option or the variable names it."""
    missing = str(place.folder / "missing")
    assert "missing" in refused(place, *FORWARD, "--kubeconfig", missing)
    assert "kubeconfig" in refused(place, *FORWARD, KUBECONFIG=missing).lower()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("portForward: [user]\n", "portside.yaml line 1: object missing required field `apiVersion`"),
        ("apiVersion: portside/v1\nportForward: bogus\n", 'line 2: portForward=bogus: unknown mode "bogus"'),
        (
            "apiVersion: portside/v1\n\nhodl: 3\n",
            'portside.yaml line 3: object contains unknown field `hodl`; did you mean "hold"',
        ),
        (
            "apiVersion: portside/v1\nhold: 1\nfoward:\n- port: 1\n",
            'line 3: object contains unknown field `foward`; did you mean "forwards"',
        ),
        (
            "apiVersion: portside/v1\nexclude:\n- kind: pod\n  nmae: x\n",
            'line 4: exclude[0]: object contains unknown field `nmae`; did you mean "name"',
        ),
        (
            "apiVersion: portside/v1\nexclude:\n- kind: pods\n- {kind: svcc}\n",
            'replicationcontroller, service, statefulset; did you mean "svc"?',
        ),
        ("apiVersion: portside/v1\nforwards: 1\n", "portside.yaml line 2: forwards: "),
        ("apiVersion: portside/v1\nhold: 1\naddresses: [a b]\n", "portside.yaml line 3: addresses: 'a b'"),
        ("apiVersion: portside/v1\n\nhold: .inf\n", "portside.yaml line 3: hold inf"),
    ],
)
def test_a_broken_portside_yaml(place: Place, text: str, said: str) -> None:
    """A mistake in portside.yaml is found before anything is bound."""
    place.write("portside.yaml", text)
    assert said in refused(place, *WATCH)


def test_a_folder_is_no_kubeconfig(place: Place, tmp_path: Path) -> None:
    """A folder as kubeconfig is an error, also for root."""
    assert str(tmp_path) in refused(place, *FORWARD, "--kubeconfig", str(tmp_path))


@pytest.mark.parametrize("words", [FORWARD, WATCH])
def test_a_taken_status_port(place: Place, words: tuple[str, ...]) -> None:
    """A given status port that is taken is an error; no other port is used."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        assert f"--status 127.0.0.1:{port} cannot be bound" in refused(place, *words, "--status", f"127.0.0.1:{port}")


def test_variables_are_judged_like_options(place: Place) -> None:
    """Skaffold's variables accept the same values as the options, and give the same errors."""
    assert "bogus" in refused(place, *WATCH, SKAFFOLD_PORT_FORWARD="bogus")
    assert "elsewhere" in refused(place, *FORWARD, SKAFFOLD_KUBE_CONTEXT="elsewhere")
    assert "99999" in refused(place, "watch", SKAFFOLD_RPC_HTTP_PORT="99999")
