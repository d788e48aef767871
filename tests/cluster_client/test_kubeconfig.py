"""kubeconfig files: merged and resolved as kubectl does; every mistake is one line with file, field and value."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import trio
import yaml
from hypothesis import given
from hypothesis import strategies as st

from watcher.cluster import credentials, kubeconfig
from watcher.cluster.cluster_config import load_cluster_config
from watcher.errors import ClusterError, KubeconfigError, UsageError

SECRET = "do-not-say-this"


def document(name: str = "dev", **more: Any) -> dict[str, Any]:
    return {
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": f"{name}-ns"}}],
        "clusters": [{"name": name, "cluster": {"server": f"http://{name}.test:8001"}}],
        "users": [{"name": name, "user": {"token": SECRET}}],
    } | more


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_the_current_context_is_the_first_files(tmp_path: Path) -> None:
    """As in kubectl the first file that sets a value wins, current-context and entries alike."""
    first, second = document("one"), document("two")
    second["clusters"] += [{"name": "one", "cluster": {"server": "http://other"}}]
    paths = [write(tmp_path / "1", first), write(tmp_path / "2", second)]
    found = kubeconfig.resolve_context(paths, None)
    assert (found.context, found.namespace, found.cluster["server"]) == ("one", "one-ns", "http://one.test:8001")
    assert kubeconfig.resolve_context(paths, "two").namespace == "two-ns"


def test_a_first_file_without_context_leaves_it_to_the_next(tmp_path: Path) -> None:
    """An empty file, or one with clusters alone, is no obstacle."""
    paths = [write(tmp_path / "0", ""), write(tmp_path / "1", {"clusters": []}), write(tmp_path / "2", document("b"))]
    assert kubeconfig.resolve_context(paths, None).context == "b"


def test_file_names_are_relative_to_their_own_kubeconfig(tmp_path: Path) -> None:
    """Certificates, token files and a plugin with a folder in its name are found from any working directory."""
    (tmp_path / "deep").mkdir()
    plugin = {"command": "./login", "apiVersion": "client.authentication.k8s.io/v1"}
    content = document(
        clusters=[{"name": "dev", "cluster": {"certificate-authority": "ca.crt"}}],
        users=[{"name": "dev", "user": {"client-key": "/k", "tokenFile": "t", "exec": plugin}}],
    )
    found = kubeconfig.resolve_context([write(tmp_path / "deep" / "config", content)], None)
    assert found.cluster["certificate-authority"] == str(tmp_path / "deep" / "ca.crt")
    assert (found.user["client-key"], found.user["tokenFile"]) == ("/k", str(tmp_path / "deep" / "t"))
    assert found.user["exec"]["command"] == str(tmp_path / "deep" / "login")


def test_scalars_mean_what_they_mean_to_kubectl(tmp_path: Path) -> None:
    """A date is a text, and so is "="."""
    text = """
current-context: 2024-01-01
contexts: [{name: 2024-01-01, context: {cluster: dev, user: dev, namespace: 2024-02-30}}]
clusters: [{name: dev, cluster: {server: 'http://dev.test'}}]
users: [{name: dev, user: {username: 2001-12-14t21:59:43.10-05:00, password: =}}]
"""
    found = kubeconfig.resolve_context([write(tmp_path / "config", text)], None)
    assert (found.context, found.namespace) == ("2024-01-01", "2024-02-30")
    assert found.user == {"username": "2001-12-14t21:59:43.10-05:00", "password": "="}


def test_the_first_document_of_several_counts(tmp_path: Path) -> None:
    """As for kubectl, whatever comes after it."""
    text = f"---\n{yaml.safe_dump(document('one'))}---\n{yaml.safe_dump(document('two'))}---\n{{"
    assert kubeconfig.resolve_context([write(tmp_path / "config", text)], None).context == "one"


def test_a_plugins_bare_name_stays_for_the_path(tmp_path: Path) -> None:
    """`aws` is looked up on the PATH, not beside the kubeconfig."""
    content = document(users=[{"name": "dev", "user": {"exec": {"command": "aws"}}}])
    assert kubeconfig.resolve_context([write(tmp_path / "c", content)], None).user["exec"]["command"] == "aws"


@pytest.mark.parametrize(
    ("content", "context", "said"),
    [
        (document(), "prod", 'there is no context "prod"; there are: dev'),
        (document(**{"current-context": ""}), None, "no current-context; choose by --kube-context, there are: dev"),
        (document(**{"current-context": "old"}), None, 'there is no context "old"; there are: dev'),
        ({}, None, "no current-context; choose by --kube-context, there are: none"),
        (document(clusters=[]), None, 'context "dev" names cluster "dev", which is not there'),
        (document(users=None), None, 'context "dev" names user "dev", which is not there'),
        (document(contexts=[{"name": "dev"}]), None, 'context "dev" names cluster "", which is not there'),
        (document(contexts="dev"), None, "$.contexts"),
        (document(contexts=[{"context": {}}]), None, "`name` - at `$.contexts[0]`"),
        (document(users=[{"name": "dev", "user": SECRET}]), None, "$.users[0].user"),
        (["a"], None, "Expected `object`, got `array`"),
        (f"users:\n- name: {SECRET}\n bad: [", None, "not valid YAML"),
        ("\x00\x01", None, "not a YAML text"),
        ("a: !!python/object/new:os.system [ls]", None, "not valid YAML"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(tmp_path: Path, content: Any, context: str | None, said: str) -> None:
    """File, place and value stand in the message, and no secret."""
    path = write(tmp_path / "config", content)
    with pytest.raises(KubeconfigError) as raised:
        kubeconfig.resolve_context([path], context)
    text = str(raised.value)
    assert str(path) in text
    assert said in text
    assert "\n" not in text
    assert SECRET not in text


@pytest.mark.parametrize("name", ["a\nb", "b" * 100_000])
def test_a_mistake_is_a_short_line_whatever_the_names(tmp_path: Path, name: str) -> None:
    """Names may have line ends, be long, or be many."""
    others = [{"name": f"other-{number}"} for number in range(5000)]
    path = write(tmp_path / "config", json.dumps({"current-context": name, "contexts": others}))
    with pytest.raises(KubeconfigError, match="there is no context") as raised:
        kubeconfig.resolve_context([path], None)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 4000


def test_a_yaml_mistake_names_line_and_column(tmp_path: Path) -> None:
    """Where to look is said, what stands there is not."""
    path = write(tmp_path / "config", f"users:\n- name: a\n  token: {SECRET}: x\n")
    with pytest.raises(KubeconfigError, match="line 3, column") as raised:
        kubeconfig.resolve_context([path], None)
    assert SECRET not in str(raised.value)


def test_a_folder_is_not_a_kubeconfig(tmp_path: Path) -> None:
    """What cannot be read says the system's reason."""
    with pytest.raises(KubeconfigError, match="cannot be read: it is a folder"):
        kubeconfig.resolve_context([tmp_path], None)


def test_kubeconfig_errors_are_usage_errors() -> None:
    """They end the program with exit code 2, and a running watch treats them as any cluster error."""
    assert issubclass(KubeconfigError, UsageError)
    assert issubclass(KubeconfigError, ClusterError)


def test_nothing_shows_secrets_by_accident(tmp_path: Path) -> None:
    """A repr in a log or a traceback holds no token."""
    path = write(tmp_path / "config", document())
    assert SECRET not in repr(kubeconfig.resolve_context([path], None))
    assert SECRET not in repr(trio.run(credentials.read_credentials, str(path), None))


@given(st.binary(max_size=300))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever stands in it, a file gives a selection or a KubeconfigError."""
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(content)
    with pytest.raises(KubeconfigError):
        kubeconfig.resolve_context([path], None)


NAMES = ["current-context", "contexts", "clusters", "users", "name", "context", "cluster", "user", "exec", "token"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.text(max_size=5) | st.just("dev"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(NAMES[:4]), VALUES), st.sampled_from(NAMES[:4]))
def test_any_structure_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any], missing: str
) -> None:
    """A good file with parts of it replaced by anything: a selection, or one line."""
    path = write(tmp_path_factory.getbasetemp() / "structured", {**document(), missing: None, **changes})
    try:
        kubeconfig.resolve_context([path], None)
    except KubeconfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
        assert len(str(error)) < 1000  # noqa: PT017 - likewise


def test_merges_of_merges_cost_no_more_than_what_is_written(tmp_path: Path) -> None:
    """A few lines of merge keys are not blown up to billions of pairs."""
    lines = ["a0: &a0 {k: x}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 40))]
    text = "\n".join([*lines, yaml.safe_dump(document())])
    assert kubeconfig.resolve_context([write(tmp_path / "config", text)], None).context == "dev"


async def test_a_named_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    """--kubeconfig is a demand."""
    with pytest.raises(KubeconfigError, match="nowhere cannot be read: No such file"):
        await load_cluster_config(str(tmp_path / "nowhere"), None)


async def test_of_the_variables_files_missing_ones_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KUBECONFIG may list files that are not there yet; where none is, all are named."""
    here, gone = write(tmp_path / "here", document()), tmp_path / "gone"
    monkeypatch.setenv("KUBECONFIG", f"{gone}{os.pathsep}{here}")
    assert (await load_cluster_config(None, None)).source == str(here)
    monkeypatch.setenv("KUBECONFIG", str(gone))
    with pytest.raises(KubeconfigError, match=r"there is no kubeconfig at .*gone: give --kubeconfig FILE"):
        await load_cluster_config(None, None)
