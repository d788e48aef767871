"""Owns reading everything there is to read of a project at once: skaffold.yaml's configuration and portside.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from watcher.config import portside_yaml, skaffold_yaml
from watcher.config.files import is_url
from watcher.config.project import Configuration, Project
from watcher.config.settings import FILE, Settings


class Loaded(Struct, frozen=True):
    """`sources`: the files that this rests on; portside.yaml is one of them also where it does not exist (yet)."""

    configuration: Configuration = Configuration()
    settings: Settings = Settings()
    sources: tuple[Path, ...] = ()


async def load_all(project: Project | None, environ: Mapping[str, str]) -> Loaded:
    """portside.yaml is looked for beside the project's file. Raises ConfigError naming file, line and field."""
    folder = Path() if project is None or is_url(project.filename) else Path(project.filename).parent
    settings = portside_yaml.read(folder)
    configuration = Configuration() if project is None else await skaffold_yaml.load(project, environ)
    return Loaded(configuration, settings, (*map(Path, configuration.sources), folder / FILE))
