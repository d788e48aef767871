"""skaffold.yaml without Skaffold: what can be read plainly is, and the rest is refused aloud."""

from __future__ import annotations

from pathlib import Path

import pytest

from forwarders.spec import PortPolicy
from watcher.config.entries import Configuration, Project
from watcher.config.skaffold_yaml import load_configuration
from watcher.errors import ConfigError

HEAD = "apiVersion: skaffold/v4beta13\nkind: Config\n"
WEB = "portForward:\n- resourceType: service\n  resourceName: web\n  port: 8080\n"
PROFILE = """\
profiles:
- name: other
  portForward:
  - {resourceType: deployment, resourceName: api, port: http, localPort: 9001}
- name: empty
  portForward: []
- name: unrelated
  patches: [{op: add, path: /test/0, value: {image: x}}]
"""


async def loaded(path: Path, text: str, *profiles: str, environ: dict[str, str] | None = None) -> Configuration:
    file = path / "skaffold.yaml"
    file.write_text(text)
    return await load_configuration(Project(filename=str(file), profiles=profiles, binary=None), environ or {})


async def test_entries_know_their_file_and_line(tmp_path: Path) -> None:
    """The entries of all documents, in order, each with where it stands."""
    configuration = await loaded(tmp_path, HEAD + WEB + "---\n" + HEAD + WEB.replace("web", "db"))
    file = str(tmp_path / "skaffold.yaml")
    assert [(e.name, e.origin) for e in configuration.entries] == [("web", f"{file} line 4"), ("db", f"{file} line 11")]
    assert configuration.sources == (file,)


async def test_no_port_forward_is_no_entry(tmp_path: Path) -> None:
    """A file that forwards nothing is a good file."""
    assert (await loaded(tmp_path, HEAD)).entries == ()


@pytest.mark.parametrize(
    ("profiles", "names"),
    [
        ((), ["web"]),
        (("other",), ["api"]),
        (("empty",), ["web"]),
        (("unrelated",), ["web"]),
        (("-other",), ["web"]),
        (("other", "-other"), ["web"]),
    ],
)
async def test_a_profile_replaces_the_list(tmp_path: Path, profiles: tuple[str, ...], names: list[str]) -> None:
    """As in Skaffold: the whole list, unless the profile's is empty; -name turns it off."""
    configuration = await loaded(tmp_path, HEAD + WEB + PROFILE, *profiles)
    assert [entry.name for entry in configuration.entries] == names


BUILT = "build: {artifacts: [{image: base}], local: {push: false}}\n"
OTHERWISE = """\
profiles:
- name: docker
  deploy: {docker: {images: [app]}}
- name: both
  build: {artifacts: [{image: app}]}
  deploy: {docker: {images: [app]}, kubectl: {}}
- name: tags
  build: {tagPolicy: {sha256: {}}}
"""


@pytest.mark.parametrize(
    ("profiles", "expected"),
    [
        ((), (("base",), False)),
        (("docker",), (("base",), True)),
        (("both",), (("app",), False)),
        (("tags",), (("base",), False)),
    ],
)
async def test_a_profile_changes_what_is_built_and_deployed(
    tmp_path: Path, profiles: tuple[str, ...], expected: tuple[tuple[str, ...], bool]
) -> None:
    """Artifacts are replaced as a list is; a profile's deployer is one more."""
    configuration = await loaded(tmp_path, HEAD + BUILT + OTHERWISE, *profiles)
    assert (configuration.artifacts, configuration.docker) == expected


async def test_a_bad_template_spoils_one_entry(tmp_path: Path) -> None:
    """The others are forwarded."""
    text = HEAD + WEB + "- {resourceType: pod, resourceName: '{{.GONE}}', port: 1}\n"
    configuration = await loaded(tmp_path, text)
    assert [entry.name for entry in configuration.entries] == ["web"]
    assert [bad.name for bad in configuration.bad] == ["{{.GONE}}"]


@pytest.mark.parametrize(
    ("text", "profiles", "said"),
    [
        ("", (), "missing apiVersion"),
        ("kind: Config\n", (), "missing apiVersion"),
        ("apiVersion: skaffold/v1beta5\n", (), "needs the skaffold binary on PATH, which was not found, for this: "),
        ("apiVersion: skaffold/v5\n", (), "skaffold.yaml: apiVersion skaffold/v5"),
        (HEAD + "requires:\n- git: {repo: r}\n", (), "line 4: a remote configuration"),
        (HEAD + "requires:\n- path: ./m\n", (), "/m cannot be read: No such file or directory"),
        ("apiVersion: skaffold/v1\n" + WEB.replace("8080", "http"), (), "line 3: a port by name in skaffold/v1"),
        (HEAD + WEB, ("gone",), "there is no profile 'gone'; there are: none"),
        (HEAD + WEB + PROFILE, ("gone",), "there are: other, empty, unrelated"),
        (
            HEAD + "profiles:\n- name: p\n  patches:\n  - {path: /portForward/0/port, value: 1}\n",
            ("p",),
            "line 6: patches of portForward",
        ),
        (
            HEAD + "profiles:\n- name: p\n  activation: [{env: A}]\n  portForward: [{port: 1}]\n",
            (),
            "line 5: activation by env must be KEY=VALUE, not 'A'",
        ),
        (
            HEAD + "profiles:\n- name: p\n  patches:\n  - {path: /deploy/docker, value: {}}\n",
            ("p",),
            "line 6: patches of deploy",
        ),
        (
            HEAD
            + "requires: []\nprofiles:\n- name: p\n  patches:\n  - {op: add, path: /requires/-, value: {path: m}}\n",
            ("p",),
            "line 7: patches of requires",
        ),
        (HEAD + "portForward: {a: b}\n", (), "line 3: portForward must be a list"),
        (HEAD + "portForward: [\n", (), "not YAML"),
    ],
)
async def test_what_would_be_a_guess_is_refused(
    tmp_path: Path, text: str, profiles: tuple[str, ...], said: str
) -> None:
    """One line that names the file, and the line where there is one."""
    with pytest.raises(ConfigError) as raised:
        await loaded(tmp_path, text, *profiles)
    assert said in str(raised.value)
    assert str(tmp_path) in str(raised.value)


async def test_all_that_needs_skaffold_is_one_message(tmp_path: Path) -> None:
    """Nobody has to mend one thing to be told of the next."""
    text = (
        HEAD + "requires: [{git: {repo: r}}]\nprofiles: [{name: p, patches: [{path: /build/artifacts, value: []}]}]\n"
    )
    with pytest.raises(ConfigError, match=r"for this: .*/v1beta5; .* line 4: patches of build; .* line 3: a remote "):
        await loaded(tmp_path, text + "---\napiVersion: skaffold/v1beta5\n", "p")


async def test_one_bad_entry_costs_that_entry(tmp_path: Path) -> None:
    """Each with its line; the others are forwarded."""
    bad = "- 7\n- {resourceType: service, port: 1}\n- {resourceType: pod, resourceName: p, port: 1, localPort: 99999}\n"
    configuration = await loaded(tmp_path, HEAD + WEB + bad)
    assert [entry.name for entry in configuration.entries] == ["web"]
    assert [(one.origin[-6:], one.reason) for one in configuration.bad] == [
        ("d.yaml", "an item of portForward is a mapping, not 7"),
        ("line 8", "it needs resourceName"),
        ("line 9", "localPort 99999 is not a number from 1 to 65535"),
    ]


async def test_what_goes_to_cloud_run_is_named(tmp_path: Path) -> None:
    """portside does not forward to it."""
    configuration = await loaded(tmp_path, HEAD + "deploy: {cloudrun: {region: r}}\n" + WEB)
    assert not configuration.entries
    assert "Cloud Run, to which portside does not forward" in configuration.bad[0].reason


async def test_a_binary_that_is_not_there_is_none(tmp_path: Path) -> None:
    """An empty PATH means a plain reading, not an error."""
    (tmp_path / "skaffold.yaml").write_text(HEAD + WEB)
    configuration = await load_configuration(Project(filename=str(tmp_path / "skaffold.yaml")), {"PATH": str(tmp_path)})
    assert [entry.local_port.policy for entry in configuration.entries] == [PortPolicy.PREFERRED]


async def test_the_other_spelling_is_found(tmp_path: Path) -> None:
    """skaffold.yml is read where there is no skaffold.yaml, as Skaffold does."""
    (tmp_path / "skaffold.yml").write_text(HEAD + WEB)
    configuration = await load_configuration(Project(filename=str(tmp_path / "skaffold.yaml"), binary=None), {})
    assert configuration.entries[0].origin == f"{tmp_path / 'skaffold.yml'} line 4"


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read: No such file or directory"), (b"\xff\xfe", "it is not a UTF-8 text")],
)
async def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    """With what to do about it."""
    file = tmp_path / "other.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"{file} cannot be read: .*give -f FILE") as raised:
        await load_configuration(Project(filename=str(file), binary=None), {})
    assert said in str(raised.value)


async def test_a_directory_and_standard_input_are_refused(tmp_path: Path) -> None:
    """-f - would take from Skaffold what is meant for it."""
    with pytest.raises(ConfigError, match="it is a folder"):
        await load_configuration(Project(filename=str(tmp_path), binary=None), {})
    with pytest.raises(ConfigError, match="standard input belongs to Skaffold"):
        await load_configuration(Project(filename="-", binary=None), {})
