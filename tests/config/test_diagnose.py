"""Skaffold's own answer: run as a process, its defaults taken out again, its words handed on; and the real Skaffold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from fixtures.cluster.versions import SKAFFOLDS
from forwarders.spec import PortPolicy, PortRequest
from tests.support.skaffold import skaffold_program
from watcher.config import diagnose as diagnosing
from watcher.config.entries import Configuration, Project
from watcher.config.skaffold_yaml import load_configuration
from watcher.errors import ConfigError

HEAD = "apiVersion: skaffold/v4beta13\nkind: Config\n"


def item(name: str, port: int = 8080, **fields: object) -> str:
    more = "".join(f"  {field}: {value}\n" for field, value in fields.items())
    return f"- resourceType: service\n  resourceName: {name}\n  port: {port}\n{more}"


async def answered(folder: Path, written: str, answer: str, *, rendered: str | None = None) -> Configuration:
    """What comes of a file when a stand-in for Skaffold prints `answer`."""
    (folder / "skaffold.yaml").write_text(written)
    (folder / "answer").write_text(answer)
    (folder / "rendered").write_text(rendered or "")
    fake = folder / "skaffold"
    failed = "echo bad template >&2; exit 1" if rendered is None else f"cat {folder}/rendered; exit"
    fake.write_text(f'#!/bin/sh\ncase "$*" in *--enable-templating*) {failed};; esac\ncat {folder}/answer\n')
    fake.chmod(0o755)
    project = Project(filename=str(folder / "skaffold.yaml"), binary=str(fake))
    return await load_configuration(project, {**os.environ, "NAME": "web"})


@pytest.mark.parametrize(
    ("written", "shown", "port_request"),
    [
        ({}, {"localPort": 8080}, PortRequest(PortPolicy.PREFERRED, 8080)),
        ({"localPort": 0}, {"localPort": 8080}, PortRequest(PortPolicy.PREFERRED, 8080)),
        ({"localPort": 8080}, {"localPort": 8080}, PortRequest(PortPolicy.EXPLICIT, 8080)),
        ({"localPort": 9001}, {"localPort": 9001}, PortRequest(PortPolicy.EXPLICIT, 9001)),
        ({}, {"localPort": 7000}, PortRequest(PortPolicy.EXPLICIT, 7000)),  # a profile's patch
    ],
)
async def test_only_what_somebody_wrote_is_explicit(
    tmp_path: Path, written: dict[str, int], shown: dict[str, int], port_request: PortRequest
) -> None:
    """diagnose fills in localPort; the file says whether anybody asked for it."""
    configuration = await answered(
        tmp_path,
        f"{HEAD}portForward:\n{item('web', **written)}",
        f"{HEAD}portForward:\n{item('web', **shown)}  address: 127.0.0.1\n",
    )
    assert [entry.local_port for entry in configuration.entries] == [port_request]
    assert configuration.entries[0].addresses == ()
    assert configuration.entries[0].origin == f"{tmp_path / 'skaffold.yaml'} line 4"


async def test_an_address_that_was_written_stays(tmp_path: Path) -> None:
    """Also the default one, where the user wrote it down."""
    configuration = await answered(
        tmp_path,
        f"{HEAD}portForward:\n{item('a', address='127.0.0.1')}{item('b')}",
        f"{HEAD}portForward:\n{item('a', address='127.0.0.1')}{item('b', address='0.0.0.0')}",
    )
    assert [entry.addresses for entry in configuration.entries] == [("127.0.0.1",), ("0.0.0.0",)]


async def test_required_files_are_read_for_their_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A required directory's skaffold.yaml, a required file, one that is remote or missing, and a circle."""
    monkeypatch.chdir(tmp_path)
    for name in ("m", "n"):
        (tmp_path / name).mkdir()
    requires = "requires: [{path: m}, {path: n/other.yaml}, {path: gone}, {git: {repo: r}}, {git: {}, path: m}]\n"
    (tmp_path / "m/skaffold.yaml").write_text(
        f"{HEAD}requires: [{{path: ..}}]\nportForward:\n{item('m', localPort=8080)}"
    )
    (tmp_path / "n/other.yaml").write_text(f"{HEAD}portForward:\n{item('n')}")
    answer = "---\n".join(f"{HEAD}portForward:\n{item(name, localPort=8080)}" for name in ("m", "n", "remote"))
    configuration = await answered(tmp_path, HEAD + requires, answer)
    assert [(entry.origin, entry.local_port.policy) for entry in configuration.entries] == [
        ("m/skaffold.yaml line 5", PortPolicy.EXPLICIT),
        ("n/other.yaml line 4", PortPolicy.PREFERRED),
        (str(tmp_path / "skaffold.yaml"), PortPolicy.PREFERRED),
    ]
    assert [Path(source).name for source in configuration.sources] == ["skaffold.yaml", "skaffold.yaml", "other.yaml"]


async def test_templates_beyond_a_name_are_skaffolds(tmp_path: Path) -> None:
    """It is asked again, with templating, only where that is needed; the line is still found."""
    text = f"{HEAD}portForward:\n" + "{}{}"
    plain, fancy = item("'{{.NAME}}'"), item("'{{.NAME | upper | lower}}-x'")
    shown = text.format(item("web-x"), "")
    configuration = await answered(tmp_path, text.format(plain, fancy), text.format(plain, fancy), rendered=shown)
    assert [(entry.name, entry.origin[-6:]) for entry in configuration.entries] == [
        ("web", "line 4"),
        ("web-x", "line 7"),
    ]


async def test_a_template_that_fails_spoils_only_itself(tmp_path: Path) -> None:
    """Where Skaffold fails, it fails all of them; the others are rendered all the same."""
    text = f"{HEAD}portForward:\n{item(chr(39) + '{{.NAME}}' + chr(39))}{item(chr(39) + '{{nothing}}' + chr(39))}"
    configuration = await answered(tmp_path, text, text)
    assert [entry.name for entry in configuration.entries] == ["web"]
    assert [bad.name for bad in configuration.bad] == ["{{nothing}}"]


async def test_skaffolds_own_words_are_handed_on(tmp_path: Path) -> None:
    """Its errors, on one line, behind the file's name."""
    (tmp_path / "skaffold.yaml").write_text(HEAD)
    fake = tmp_path / "skaffold"
    fake.write_text("#!/bin/sh\necho 'unknown profile:' >&2\necho x >&2\nexit 1\n")
    fake.chmod(0o755)
    with pytest.raises(ConfigError, match=r"skaffold.yaml: Skaffold cannot read it: unknown profile: x$"):
        await load_configuration(Project(filename=str(tmp_path / "skaffold.yaml"), binary=str(fake)), {})


async def test_a_binary_that_cannot_start_is_named(tmp_path: Path) -> None:
    """What was tried and what came back."""
    (tmp_path / "skaffold.yaml").write_text(HEAD)
    fake = tmp_path / "skaffold"
    fake.write_text("#!/nowhere/interpreter\n")
    fake.chmod(0o755)
    with pytest.raises(ConfigError, match=r"skaffold cannot be started to read .*: No such file or directory"):
        await load_configuration(Project(filename=str(tmp_path / "skaffold.yaml"), binary=str(fake)), {})


async def test_a_skaffold_that_hangs_is_given_up(tmp_path: Path, autojump_clock: MockClock) -> None:
    """After a minute (of the test's clock) it is ended, and said."""
    (tmp_path / "skaffold.yaml").write_text(HEAD)
    fake = tmp_path / "skaffold"
    fake.write_text("#!/bin/sh\nexec sleep 600\n")
    fake.chmod(0o755)
    with pytest.raises(ConfigError, match=r"skaffold diagnose` did not read .* within 60 s"):
        await load_configuration(Project(filename=str(tmp_path / "skaffold.yaml"), binary=str(fake)), os.environ)


async def test_a_skaffold_that_does_not_stop_printing_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its output does not fill the memory; the deadline is not waited for."""
    monkeypatch.setattr(diagnosing, "MAX_OUTPUT", 1 << 20)
    fake = tmp_path / "skaffold"
    fake.write_text("#!/bin/sh\nexec yes")
    fake.chmod(0o755)
    (tmp_path / "skaffold.yaml").write_text(HEAD)
    project = Project(filename=str(tmp_path / "skaffold.yaml"), binary=str(fake))
    with pytest.raises(ConfigError, match="diagnose` printed more than 1 MiB"), trio.fail_after(30):
        await load_configuration(project, {})


async def test_a_skaffold_that_only_answers_opens_no_port(tmp_path: Path) -> None:
    """Neither the environment nor skaffold.env makes `diagnose` serve its API, write files or print otherwise."""
    loud = {"SKAFFOLD_RPC_HTTP_PORT": "50052", "SKAFFOLD_OUTPUT": "x", "SKAFFOLD_VERBOSITY": "trace", "A": "b"}
    (tmp_path / "skaffold.yaml").write_text(HEAD)
    fake = tmp_path / "skaffold"
    fake.write_text(f"#!/bin/sh\nenv > {tmp_path}/seen\necho '{HEAD}'\n")
    fake.chmod(0o755)
    project = Project(filename=str(tmp_path / "skaffold.yaml"), binary=str(fake), kube_context="there")
    await load_configuration(project, {"PATH": os.environ["PATH"], **loud})
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines())
    assert (seen["SKAFFOLD_RPC_HTTP_PORT"], seen["SKAFFOLD_RPC_PORT"], seen["SKAFFOLD_OUTPUT"]) == ("", "", "")
    assert (seen["SKAFFOLD_VERBOSITY"], seen["SKAFFOLD_KUBE_CONTEXT"], seen["A"]) == ("warning", "there", "b")


async def test_a_file_that_is_no_yaml_to_us_is_skaffolds_to_judge(tmp_path: Path) -> None:
    """Its answer stands; only the line is not known."""
    configuration = await answered(tmp_path, "a: [", f"{HEAD}portForward:\n{item('web')}")
    assert [(entry.name, entry.origin) for entry in configuration.entries] == [("web", str(tmp_path / "skaffold.yaml"))]


async def test_a_url_is_skaffolds_to_read(tmp_path: Path) -> None:
    """-f takes one; nothing of it is looked for on disk."""
    fake = tmp_path / "skaffold"
    fake.write_text(f"#!/bin/sh\nprintf '{HEAD}portForward: [{{resourceType: pod, resourceName: a, port: 1}}]'\n")
    fake.chmod(0o755)
    configuration = await load_configuration(
        Project(filename="https://example.invalid/skaffold.yaml", binary=str(fake)), os.environ
    )
    assert ([entry.name for entry in configuration.entries], configuration.sources) == (["a"], ())


# The real one


@pytest.fixture(scope="session", params=SKAFFOLDS)
def skaffold(request: pytest.FixtureRequest) -> str:
    """Each version of Skaffold that a bed has; `diagnose` needs no cluster."""
    return skaffold_program(str(request.param))


PROJECT = f"""\
{HEAD}metadata: {{name: root}}
requires:
- path: ./module
portForward:
- resourceType: Service
  resourceName: web
  port: 8080
- &api
  resourceType: deployment
  resourceName: "{{{{.NAME}}}}"
  port: http
  localPort: 9001
- <<: *api
  resourceName: "{{{{.NAME | upper | lower}}}}-x"
  port: 80
  localPort: 0
profiles:
- name: by-command
  activation: [{{command: dev}}]
  patches: [{{op: add, path: /portForward/0/localPort, value: 7000}}]
- name: not-by-command
  activation: [{{command: "!dev"}}]
  portForward: [{{resourceType: pod, resourceName: never, port: 1}}]
"""


@pytest.mark.skaffold
async def test_the_real_skaffold(tmp_path: Path, skaffold: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with a module, merge keys, templates and profiles that `dev` activates: all as `dev` would see it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "module").mkdir()
    (tmp_path / "module/skaffold.yaml").write_text(f"{HEAD}portForward:\n{item('db', 5432, localPort=5432)}")
    (tmp_path / "skaffold.yaml").write_text(PROJECT)
    project = Project(filename=str(tmp_path / "skaffold.yaml"), binary=skaffold)
    configuration = await load_configuration(project, {**os.environ, "NAME": "api"})
    assert [(e.resource_type, e.name, e.port, e.local_port) for e in configuration.entries] == [
        ("service", "db", 5432, PortRequest(PortPolicy.EXPLICIT, 5432)),
        ("Service", "web", 8080, PortRequest(PortPolicy.EXPLICIT, 7000)),
        ("deployment", "api", "http", PortRequest(PortPolicy.EXPLICIT, 9001)),
        ("deployment", "api-x", 80, PortRequest(PortPolicy.PREFERRED, 80)),
    ]
    lines = [entry.origin.removeprefix(str(tmp_path) + "/") for entry in configuration.entries]
    assert lines == ["module/skaffold.yaml line 4", *(f"skaffold.yaml line {line}" for line in (7, 10, 15))]


@pytest.mark.skaffold
@pytest.mark.parametrize(
    ("text", "profiles", "said"),
    [
        (HEAD + "portForwards: []\n", (), "field portForwards not found"),
        (HEAD, ("gone",), "gone"),
        ("kind: Config\n", (), "apiVersion"),
    ],
)
async def test_the_real_skaffolds_errors(
    tmp_path: Path, skaffold: str, text: str, profiles: tuple[str, ...], said: str
) -> None:
    """One line with its own words."""
    (tmp_path / "skaffold.yaml").write_text(text)
    project = Project(filename=str(tmp_path / "skaffold.yaml"), profiles=profiles, binary=skaffold)
    with pytest.raises(ConfigError) as raised:
        await load_configuration(project, os.environ)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


ORDERED = f"""\
{HEAD}profiles:
- name: a
  activation: [{{command: dev}}]
  portForward: [{{resourceType: service, resourceName: from-a, port: 80}}]
- name: b
  activation: [{{env: X=1}}]
  portForward: [{{resourceType: service, resourceName: from-b, port: 80}}]
- name: added
  patches:
  - {{op: add, path: /portForward/-, value: {{resourceType: pod, resourceName: p, port: 9000, localPort: 9000}}}}
- name: elsewhere
  activation: [{{kubeContext: there}}]
  deploy: {{kubeContext: there}}
"""


@pytest.mark.skaffold
@pytest.mark.parametrize(("environ", "names"), [({}, ["from-a"]), ({"X": "1"}, ["from-b"]), ({"X": "2"}, ["from-a"])])
async def test_profiles_apply_in_the_files_order(
    tmp_path: Path, skaffold: str, environ: dict[str, str], names: list[str]
) -> None:
    """However they are activated: by the command, which diagnose does not know, or by a variable."""
    (tmp_path / "skaffold.yaml").write_text(ORDERED)
    project = Project(filename=str(tmp_path / "skaffold.yaml"), binary=skaffold)
    configuration = await load_configuration(project, {**os.environ, **environ})
    assert [entry.name for entry in configuration.entries] == names


@pytest.mark.skaffold
async def test_a_patched_in_port_is_explicit(tmp_path: Path, skaffold: str) -> None:
    """Somebody wrote it, in a patch; and its line is known."""
    (tmp_path / "skaffold.yaml").write_text(ORDERED)
    project = Project(filename=str(tmp_path / "skaffold.yaml"), binary=skaffold, profiles=("added",))
    patched = (await load_configuration(project, os.environ)).entries[-1]
    assert (patched.name, patched.local_port) == ("p", PortRequest(PortPolicy.EXPLICIT, 9000))
    assert patched.origin.endswith("skaffold.yaml line 12")


@pytest.mark.skaffold
@pytest.mark.parametrize("context", ["there", "here"])
async def test_the_context_that_is_used_activates_profiles(tmp_path: Path, skaffold: str, context: str) -> None:
    """diagnose has no --kube-context; what the project then deploys to is known as well."""
    (tmp_path / "skaffold.yaml").write_text(ORDERED)
    project = Project(filename=str(tmp_path / "skaffold.yaml"), binary=skaffold, kube_context=context)
    configuration = await load_configuration(project, os.environ)
    assert configuration.kube_context == ("there" if context == "there" else "")
