"""Modules, profiles and activations without Skaffold: evaluated as Skaffold does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from watcher.config.entries import Project
from watcher.config.skaffold_yaml import load_configuration
from watcher.errors import ConfigError

HEAD = "apiVersion: skaffold/v4beta13\nkind: Config\n"
MODULES = """\
metadata: {name: root}
requires:
- path: m
  configs: [m]
  activeProfiles: [{name: p, activatedBy: [by-env]}]
- configs: [second]
profiles:
- name: by-env
  activation: [{env: A=b}]
  portForward: [{resourceType: service, resourceName: root, port: 1}]
- name: by-command
  activation: [{command: debug}, {kubeContext: ^the}]
  portForward: [{resourceType: service, resourceName: debugged, port: 1}]
---
apiVersion: skaffold/v4beta13
metadata: {name: second}
portForward: [{resourceType: service, resourceName: second, port: 1}]
"""
MODULE = """\
apiVersion: skaffold/v4beta13
metadata: {name: m}
profiles:
- name: p
  portForward: [{resourceType: service, resourceName: m, port: 1}]
---
apiVersion: skaffold/v4beta13
metadata: {name: unasked}
portForward: [{resourceType: service, resourceName: unasked, port: 1}]
"""


@pytest.mark.parametrize(
    ("project", "environ", "names"),
    [
        ({}, {}, ["second"]),
        ({}, {"A": "b"}, ["m", "second", "root"]),
        ({"command": "debug"}, {}, ["second", "debugged"]),
        ({"kube_context": "there"}, {}, ["second", "debugged"]),
        ({"modules": ("m",)}, {"A": "b"}, ["m"]),
        ({"modules": ("second",)}, {"A": "b"}, ["second"]),
        ({"profiles": ("p",)}, {}, ["m", "second"]),
        ({"profiles": ("p",), "profile_flags": ("--propagate-profiles=false",)}, {}, ["second"]),
        ({"profile_flags": ("--profile-auto-activation=false",)}, {"A": "b"}, ["second"]),
        ({}, {"A": "b", "SKAFFOLD_PROFILE_AUTO_ACTIVATION": "0"}, ["second"]),
        ({"profiles": ("-by-env",)}, {"A": "b"}, ["second"]),
    ],
)
async def test_modules_and_activations_are_evaluated(
    tmp_path: Path, project: dict[str, Any], environ: dict[str, str], names: list[str]
) -> None:
    """Modules by path and in one file, profiles by command, variable and context, as Skaffold has them."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m/skaffold.yaml").write_text(MODULE)
    (tmp_path / "skaffold.yaml").write_text(HEAD + MODULES)
    asked = Project(filename=str(tmp_path / "skaffold.yaml"), binary=None, kubeconfig=str(tmp_path / "none"))
    configuration = await load_configuration(replace(asked, **project), environ)
    assert [entry.name for entry in configuration.entries] == names


async def test_the_current_context_is_the_kubeconfigs(tmp_path: Path) -> None:
    """It is asked for only where a condition needs it; one that cannot be read is named."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m/skaffold.yaml").write_text(MODULE)
    (tmp_path / "skaffold.yaml").write_text(HEAD + MODULES)
    (tmp_path / "kubeconfig").write_text("current-context: there\n")
    project = Project(filename=str(tmp_path / "skaffold.yaml"), binary=None, kubeconfig=str(tmp_path / "kubeconfig"))
    assert [entry.name for entry in (await load_configuration(project, {})).entries] == ["second", "debugged"]
    (tmp_path / "kubeconfig").write_text("[")
    with pytest.raises(ConfigError, match=r"kubeconfig .* not valid YAML; a profile is activated by kubeContext"):
        await load_configuration(project, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "deploy: {kubeContext: there}\nprofiles: [{name: p, activation: [{kubeContext: here}]}]\n",
            "line 4: profile p is activated by the context 'here', and what is deployed goes to 'there'",
        ),
        (
            "deploy: {kubeContext: there}\nprofiles:\n- name: p\n  requiresAllActivations: true\n"
            "  activation: [{env: 'A='}, {kubeContext: here}]\n",
            "line 5: profile p is activated by the context 'here'",
        ),
        (
            "requires:\n- {configs: [x], activeProfiles: [{name: p}]}\n- {configs: [x]}\n---\n"
            f"{HEAD}metadata: {{name: x}}\nprofiles: [{{name: p}}]\n",
            "line 7 is required twice, with the profiles p and none",
        ),
    ],
)
async def test_what_skaffold_refuses_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """It would not start with such a project."""
    (tmp_path / "skaffold.yaml").write_text(HEAD + text)
    (tmp_path / "kubeconfig").write_text("current-context: here\n")
    project = Project(filename=str(tmp_path / "skaffold.yaml"), binary=None, kubeconfig=str(tmp_path / "kubeconfig"))
    with pytest.raises(ConfigError) as raised:
        await load_configuration(project, {})
    assert said in str(raised.value)
