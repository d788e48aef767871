"""The table of beds: every version has its Go module, and beds share only the cache."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.cluster import config, layout
from fixtures.cluster.binaries import GoModule, built, modules
from fixtures.cluster.errors import BrokenError
from fixtures.cluster.layout import Layout, State, choose_ports, preferred_ports
from fixtures.cluster.lifecycle import up
from fixtures.cluster.versions import BEDS, DEFAULT, NAMES, VARIABLE, BedVersions, RuntimeKind

COMMAND = Path(__file__).resolve().parents[2] / "scripts" / "cluster"
MODULES = [module for bed in BEDS for module in modules(bed) if module.main_module]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.source.name)
def test_a_modules_folder_is_named_after_what_it_requires(module: GoModule) -> None:
    """The table, the folder's name and go.mod have the same version."""
    assert module.source.name == f"{module.name}-{module.version.removeprefix('v')}"


def test_beds_share_what_they_have_in_common() -> None:
    """Two beds with the same control plane or Skaffold build it once."""
    folders = {bed.name: {module.source for module in modules(bed)} for bed in BEDS}
    assert len(folders["default"] & folders["dockershim"]) == 4  # the app, etcd, the control plane, Skaffold


def test_a_state_folder_for_each_bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default has the plain folder; the others stand beside it."""
    monkeypatch.setenv("PORTSIDE_TESTBED_DIR", str(tmp_path / "bed"))
    monkeypatch.delenv(VARIABLE, raising=False)
    assert Layout.from_environment().state == tmp_path / "bed"
    assert Layout.from_environment("newest").state == tmp_path / "bed-newest"
    monkeypatch.setenv(VARIABLE, "dockershim")
    assert Layout.from_environment().bed == "dockershim"


def test_beds_side_by_side_differ_in_everything(tmp_path: Path) -> None:
    """Folders, cgroups, the pods' subnets and ports, even if two beds start at the same time."""
    layouts = [Layout(tmp_path / name, tmp_path, name) for name in NAMES]
    for separate in ("state", "instance", "cgroup", "subnet"):
        assert len({getattr(each, separate) for each in layouts}) == len(BEDS)
    ports = [port for name in NAMES for port in preferred_ports(name).values()]
    assert len(set(ports)) == len(ports)


def test_a_bed_has_no_port_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the system chooses all of them because the preferred ones are taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr(layout, "PREFERRED_PORTS", {str(number): port for number in range(200)})
        chosen = choose_ports()
    assert len(set(chosen.values())) == 200
    assert port not in chosen.values()


@pytest.mark.parametrize(("kubelet", "told"), [("1.23.17", False), ("1.34.4", True)])
def test_a_kubelet_gets_the_settings_that_it_knows(
    tmp_path: Path, *, kubelet: str, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older kubelet does not get a newer setting."""
    bed = BedVersions("default", "1.34.4", kubelet, RuntimeKind.CONTAINERD, "1.6", "2.16.1", "3.6.5")
    monkeypatch.setattr(Layout, "versions", property(lambda _: bed))
    place = Layout(tmp_path, tmp_path)
    binaries = {"containerd-shim-runc-v2": "/shim"}
    files = config.files(place, State(choose_ports(), binaries, "", ""))
    assert ("podLogsDir" in files[place.config / "kubelet.json"]) is told


def test_a_build_that_breaks_names_the_module(tmp_path: Path) -> None:
    """The report has the step, the version and the compiler's lines; no folder is left."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "go.mod").write_text("module portside.test/broken\n\ngo 1.24\n\nrequire example.test/m v1.2.3\n")
    (source / "main.go").write_text("package main\n\nfunc main() { return 1 }\n")
    module = GoModule("broken", source, {"broken": "."}, "example.test/m")
    with pytest.raises(BrokenError) as caught:
        built(module, Layout(tmp_path / "state", tmp_path / "cache"), lambda _: None)
    assert "build broken v1.2.3" in str(caught.value)
    assert not [path for path in (tmp_path / "cache/bin").iterdir() if path.is_dir()]


def test_an_unknown_bed_is_bad_usage(tmp_path: Path) -> None:
    """On the command line and in the variable: exit 2, and the message lists the known beds."""
    for words, name in ((["status", "oldest"], DEFAULT), (["status"], "oldest")):
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), VARIABLE: name}
        done = subprocess.run(
            [sys.executable, str(COMMAND), *words], env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert all(name in done.stderr for name in NAMES)
        assert "Traceback" not in done.stderr


def test_a_missing_module_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bed without its module's folder fails as a step, not with a traceback."""
    bed = BedVersions("default", "9.9.9", "9.9.9", RuntimeKind.CONTAINERD, "1.6", "2.16.1", "3.6.5")
    monkeypatch.setattr(Layout, "versions", property(lambda _: bed))
    monkeypatch.setattr("fixtures.cluster.lifecycle.missing", lambda _: None)
    with pytest.raises(BrokenError, match=r"go/kubernetes-9\.9\.9"):
        up(lambda _: None, Layout(tmp_path / "state", tmp_path / "cache"))
