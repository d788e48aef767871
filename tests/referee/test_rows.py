"""Projects that portside once read differently from Skaffold, one of each kind, with the expected forwards."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from fixtures.referee.referee import Referee
from tests.referee.asking import Outcome, outcome, question_in, read_by_portside

pytestmark = pytest.mark.skaffold

HEAD = "apiVersion: skaffold/v4beta13\nkind: Config\n"
PATCHED = f"{HEAD}requires: [{{path: m}}]\nprofiles:\n- name: p\n  activation: [{{command: dev}}]\n  patches:\n"
BUILT = "build: {artifacts: [{image: a}]}\n"


def entries(*names: str) -> str:
    items = ", ".join(f"{{resourceType: service, resourceName: {name}, port: 8080}}" for name in names)
    return f"portForward: [{items}]\n"


def profile(name: str, activation: str, entry: str) -> str:
    return f"- name: {name}\n  activation: {activation}\n  {entries(entry)}"


# Row: the files, the working directory and file of the call, and the forwarded names.
ROWS = {
    "4.2 requires, from the parent": (
        {
            "p/skaffold.yaml": f"{HEAD}requires: [{{path: m}}]\n{entries('root')}",
            "p/m/skaffold.yaml": HEAD + entries("m"),
        },
        (".", "p/skaffold.yaml"),
        ["m", "root"],
    ),
    "4.2 requires, from elsewhere": (
        {
            "p/skaffold.yaml": f"{HEAD}requires: [{{path: ../m/a.yaml}}]\n",
            "m/a.yaml": HEAD + entries("m"),
            "x/y/unrelated": "",
        },
        ("x/y", "../../p/skaffold.yaml"),
        ["m"],
    ),
    "4.2 a patch brings requires, from the parent": (
        {
            "p/skaffold.yaml": PATCHED
            + "  - {op: replace, path: /requires/0, value: {path: a}}\n"
            + "  - {op: add, path: /requires/-, value: {path: b}}\n"
            + "- name: q\n  activation: [{command: run}]\n"
            + "  patches: [{op: replace, path: /requires, value: [{path: gone}]}]\n",
            "p/m/skaffold.yaml": HEAD + entries("m"),
            "p/a/skaffold.yaml": HEAD + entries("a"),
            "p/b/skaffold.yaml": HEAD + entries("b"),
        },
        (".", "p/skaffold.yaml"),
        ["a", "b"],
    ),
    "4.2 a patch brings the list of requires, from the parent": (
        {
            "p/skaffold.yaml": PATCHED + "  - {op: replace, path: /requires, value: [{path: a}]}\n",
            "p/m/skaffold.yaml": HEAD + entries("m"),
            "p/a/skaffold.yaml": HEAD + entries("a"),
        },
        (".", "p/skaffold.yaml"),
        ["a"],
    ),
    "4.3 a module's profile by command": (
        {
            "skaffold.yaml": f"{HEAD}requires: [{{path: m}}]\n{entries('root')}",
            "m/skaffold.yaml": f"{HEAD}{BUILT}profiles:\n" + profile("p", "[{command: dev}]", "m"),
        },
        (".", "skaffold.yaml"),
        ["m", "root"],
    ),
    "4.3 a module's skaffold.yml": (
        {
            "skaffold.yaml": f"{HEAD}requires: [{{path: m}}]\n{entries('root')}",
            "m/skaffold.yml": f"{HEAD}profiles:\n" + profile("p", "[{command: dev}]", "m"),
        },
        (".", "skaffold.yaml"),
        ["m", "root"],
    ),
    "4.4 an automatic profile stays where it is": (
        {
            "skaffold.yaml": f"{HEAD}requires: [{{path: m}}]\nprofiles:\n" + profile("p", "[{command: dev}]", "root"),
            "m/skaffold.yaml": f"{HEAD}{entries('m')}profiles:\n- name: p\n  {entries('leaked')}",
        },
        (".", "skaffold.yaml"),
        ["m", "root"],
    ),
    "4.5 templates": (
        {
            "skaffold.yaml": HEAD
            + "build: {artifacts: [{image: a, docker: {buildArgs: {x: '{{ .TAG | trunc 7 }}'}}}]}\n"
            + entries("'{{ .NAME | trunc 2 }}'", "'{{ .NAME }}'", "'{{ .GONE | trunc 2 }}'")
        },
        (".", "skaffold.yaml"),
        ["sh", "shop"],
    ),
    "4.5 templates that look at what is not set": (
        {
            "skaffold.yaml": HEAD
            + entries(
                "'{{ .GONE | default \"x\" }}'",
                "'{{ or .GONE .NAME }}'",
                "'{{ repeat (atoi .GONE | add 1 | int) .NAME }}'",
                "'{{ if .GONE }}{{ fail .GONE }}{{ end }}web'",
                "'web{{ if .GONE }}-x{{ end }}'",
                "'{{ if .NAME }}api{{ else }}{{ .GONE }}{{ end }}'",
                "'db{{ index . \"GONE\" }}'",
            )
        },
        (".", "skaffold.yaml"),
        ["api", "db"],
    ),
    "4.6 tabs, tags, dates": (
        {
            "skaffold.yaml": HEAD.replace(" ", "\t")
            + "metadata: {annotations: {a: =, b: 2001-99-99}}\n"
            + entries("!mine web")
        },
        (".", "skaffold.yaml"),
        ["web"],
    ),
    "4.9 by command and context": (
        {"skaffold.yaml": f"{HEAD}profiles:\n" + profile("p", "[{command: dev, kubeContext: here}]", "web")},
        (".", "skaffold.yaml"),
        ["web"],
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_project(row: str, referee: Referee, skaffold: str, tmp_path: Path, environ: dict[str, str]) -> None:
    """Skaffold's own packages and portside give these entries."""
    written, (folder, file), names = ROWS[row]
    for name, text in written.items():
        (tmp_path / "t" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "t" / name).write_text(text)
    os.chdir(tmp_path / "t" / folder)
    question = question_in(str(Path.cwd()), environ | {"NAME": "shop"}, file=file)
    assert outcome(referee, question, skaffold) is Outcome.AGREE
    assert [entry.name for entry in read_by_portside(question, skaffold).entries] == names


@pytest.mark.parametrize("name", ["SKAFFOLD_RPC_HTTP_PORT", "SKAFFOLD_RPC_PORT"])
@pytest.mark.parametrize("in_file", [False, True])
def test_the_event_apis_port_is_not_opened(
    name: str, skaffold: str, tmp_path: Path, environ: dict[str, str], *, in_file: bool
) -> None:
    """Row 4.1: the running Skaffold has that port, from the environment or from skaffold.env."""
    (tmp_path / "skaffold.yaml").write_text(HEAD + entries("web"))
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        setting = (name, str(holder.getsockname()[1]))
        if in_file:
            (tmp_path / "skaffold.env").write_text("=".join(setting))
        question = question_in(str(tmp_path), environ if in_file else environ | dict([setting]))
        assert [entry.name for entry in read_by_portside(question, skaffold).entries] == ["web"]


def test_one_bad_entry_costs_that_entry(skaffold: str, tmp_path: Path, environ: dict[str, str]) -> None:
    """Row 4.7: Skaffold does not start with such a project, or never forwards the entry; portside names its line."""
    (tmp_path / "skaffold.yaml").write_text(
        f"{HEAD}portForward:\n"
        "- {resourceType: service, resourceName: web, port: 8080}\n"
        "- {resourceType: service, port: 8080}\n"
        "- {resourceType: service, resourceName: a}\n"
        "- {resourceType: service, resourceName: b, port: 80, localPort: 99999}\n"
        "- {resourceType: service, resourceName: c, port: 80, address: '*'}\n"
        "- {resourceType: ingress, resourceName: d, port: 80}\n"
    )
    found = read_by_portside(question_in(str(tmp_path), environ), skaffold)
    assert [entry.name for entry in found.entries] == ["web"]
    assert [one.origin for one in found.bad] == [f"skaffold.yaml line {line}" for line in range(5, 10)]


def test_cloud_run_is_named(skaffold: str, tmp_path: Path, environ: dict[str, str]) -> None:
    """Row 4.7: the sample of Skaffold's documentation is read, and the message says why it is not served."""
    (tmp_path / "skaffold.yaml").write_text(
        f"{HEAD}deploy: {{cloudrun: {{projectid: p, region: us-central1}}}}\n{entries('web')}"
    )
    found = read_by_portside(question_in(str(tmp_path), environ), skaffold)
    assert not found.entries
    assert "Cloud Run" in found.bad[0].reason
