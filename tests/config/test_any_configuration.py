"""Whatever stands in a skaffold.yaml, the outcome is entries or one line that says what is wrong."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import trio
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watcher.config import project_files
from watcher.config.diagnose import readable_for_diagnose
from watcher.config.entries import Configuration, Project
from watcher.config.skaffold_yaml import load_configuration
from watcher.errors import ConfigError

FIELDS = (
    *("apiVersion", "kind", "portForward", "profiles", "requires", "name", "activation", "command", "env"),
    *("kubeContext", "patches", "path", "op", "value", "resourceType", "resourceName", "port", "localPort"),
    *("namespace", "address", "requiresAllActivations", "unknown"),
)
WORDS = ("skaffold/v4beta11", "service", "{{.X}}", "{{.Y}}", "dev", "A=b", "p", "/portForward/0", "(", "!!x", "!")
ENVIRON = {"X": "web", "A": "b"}

leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 70000), st.floats(), st.text(max_size=6), st.sampled_from(WORDS)
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5)),
    max_leaves=20,
)
documents = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6).map(
    lambda some: {"apiVersion": "skaffold/v4beta11"} | some
)
texts = st.one_of(st.text(), st.lists(documents, max_size=2).map(yaml.safe_dump_all))
asked = st.lists(st.sampled_from(["p", "-p", "q"]), max_size=2).map(tuple)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(texts, asked)
def test_any_file_is_entries_or_one_line(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    """Profiles that are no lists, activations that are texts, ports that are dates: never another exception."""
    file = tmp_path / "skaffold.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    project = Project(filename=str(file), profiles=names, binary=None)

    async def read() -> Configuration:
        return await load_configuration(project, ENVIRON)

    try:
        found = trio.run(read)
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right, and each has its own assertion
    else:
        assert all(entry.source == "user" for entry in found.entries)
    with suppress(ConfigError):
        # What is read beside Skaffold's own answer, before it has judged anything.
        read_files = project_files.with_required(project_files.read_leniently(str(file)))
        project_files.written_items(read_files)
        with readable_for_diagnose(read_files, project) as readable:
            assert Path(readable.name).exists()


@pytest.mark.parametrize("text", ["", "---\n---\n", "apiVersion: skaffold/v4beta11\nportForward:\n"])
def test_next_to_nothing_is_no_entry(tmp_path: Path, text: str) -> None:
    """An empty list is a list; a file without a configuration is a mistake."""
    file = tmp_path / "skaffold.yaml"
    file.write_text(text)

    async def read() -> int:
        return len((await load_configuration(Project(filename=str(file), binary=None), {})).entries)

    if "apiVersion" in text:
        assert trio.run(read) == 0
    else:
        with pytest.raises(ConfigError):
            trio.run(read)


@given(st.binary(max_size=200))
def test_any_bytes_are_entries_or_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Bytes that are no text, too."""
    file = tmp_path_factory.getbasetemp() / "skaffold.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        trio.run(load_configuration, Project(filename=str(file), binary=None), {})
    assert "\n" not in str(caught.value)


def test_a_value_that_aliases_blow_up_is_shown_short(tmp_path: Path) -> None:
    """The message about a wrong item has its beginning, not its billions of values."""
    laughs = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40))]
    file = tmp_path / "skaffold.yaml"
    file.write_text("\n".join(["apiVersion: skaffold/v4beta11", *laughs, "portForward: *a39"]))
    found = trio.run(load_configuration, Project(filename=str(file), binary=None), {})
    assert found.bad[0].reason.startswith("an item of portForward is a mapping, not")
    assert len(found.bad[0].reason) < 10_000


async def test_a_working_folder_that_is_gone_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for an edit that is read while portside runs."""
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(ConfigError, match="the working folder cannot be used: No such file or directory"):
        await load_configuration(Project(binary=None), {})
