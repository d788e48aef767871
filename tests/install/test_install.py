"""The installed package in an empty environment: as a wheel, by pipx and by uv, on the oldest and the newest Python."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fixtures.embedded import EmbeddedCluster
from fixtures.embedded.pods import Port
from fixtures.embedded.web import web
from tests.cli.made import Place
from tests.install.pythons import newest, oldest
from tests.support.process import portside

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent
FETCH = "python3 -c 'import os, urllib.request as u; print(u.urlopen(os.environ[\"WEB_8080_URL\"]).read().decode())'"

pytestmark = pytest.mark.timeout(600)  # it loads 60 packages


def done(*command: object, **variables: Path) -> None:
    environment = os.environ | {name: str(path) for name, path in variables.items()}
    made = subprocess.run(
        [*map(str, command)], env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert made.returncode == 0, made.stderr


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as the guide builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    done(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT)
    [path] = folder.glob("portside-*.whl")
    return path


def by_pip(folder: Path, wheel: Path, python: str) -> Path:
    done(python, "-m", "venv", folder / "venv")
    done(folder / "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    return folder / "venv/bin/portside"


def by_pipx(folder: Path, wheel: Path, python: str) -> Path:
    done(TOOLS / "pipx", "install", "--python", python, wheel, PIPX_HOME=folder / "pipx", PIPX_BIN_DIR=folder / "bin")
    return folder / "bin/portside"


def by_uv(folder: Path, wheel: Path, python: str) -> Path:
    places = {"UV_TOOL_DIR": folder / "uv", "UV_TOOL_BIN_DIR": folder / "bin", "UV_CACHE_DIR": folder / "cache"}
    done(TOOLS / "uv", "tool", "install", "--compile-bytecode", "--python", python, wheel, **places)
    return folder / "bin/portside"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """A folder with a kubeconfig for a cluster that has a service `web`."""
    async with EmbeddedCluster.open() as cluster:
        await cluster.deployment("web", [Port(8080, web("hello"), "http")])
        cluster.service("web", {"app": "web"}, [{"port": 8080}])
        place = Place(tmp_path)
        place.environment["KUBECONFIG"] = str(cluster.kubeconfig(tmp_path / "kubeconfig"))
        yield place


@pytest.mark.parametrize(
    ("install", "python"),
    [(by_pip, oldest), pytest.param(by_pipx, newest, marks=pytest.mark.long), (by_uv, newest)],
    ids=["pip, oldest", "pipx, newest", "uv, newest"],
)
async def test_it_forwards(
    place: Place, wheel: Path, install: Callable[[Path, Path, str], Path], python: Callable[[], str]
) -> None:
    """`forward --exec` reaches the pod, with a `watcher.py` in PYTHONPATH."""
    (place.folder / "watcher.py").write_text("raise SystemExit('a module of the project')")
    environment = place.environment | {"PYTHONPATH": str(place.folder)}
    program = (str(install(place.folder, wheel, python())),)
    words = ("svc/web", ":8080", "--exec", FETCH)
    async with portside("forward", *words, environment=environment, folder=place.folder, program=program) as running:
        assert await running.wait() == 0, running.stderr
        assert "hello" in running.stderr
