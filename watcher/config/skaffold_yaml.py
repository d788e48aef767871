"""Owns the way from skaffold.yaml to entries: Skaffold's own answer where its binary is there, else our plain reading.

Refuses to guess: what a plain reading cannot get right (modules, patches, old schemas) is an error that says so.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping

from watcher.config import documents, files, profiles
from watcher.config.diagnose import diagnose
from watcher.config.entries import BadEntry, Entry
from watcher.config.errors import ConfigError
from watcher.config.files import File
from watcher.config.port_forward import entry
from watcher.config.project import DEFAULT_FILE, Configuration, Project
from watcher.config.templates import is_plain

__all__ = ["DEFAULT_FILE", "Configuration", "Project", "default_file", "load"]

# Since v1 `portForward` has had today's fields; before, some had other names and types.
_READABLE = re.compile(r"skaffold/v(1|[2-4]((alpha|beta)\d+)?)")

_DEPLOYERS = {"docker", "kubectl", "helm", "kpt", "cloudrun"}


def default_file() -> str | None:
    """The project's file in the working directory, as Skaffold looks for it; None where there is none."""
    return next((name for name in (DEFAULT_FILE, files.OTHER_DEFAULT) if os.path.lexists(name)), None)


async def load(project: Project, environ: Mapping[str, str]) -> Configuration:
    """The project's entries. Raises ConfigError: no such file, not YAML, not what skaffold.yaml may hold."""
    file = files.read(project.filename)
    binary = shutil.which(project.binary, path=environ.get("PATH")) if project.binary else None
    if binary is None:
        plain = _plain(file, project)
        found = [item for document in plain for item in files.port_forward(document, file.name)]
        return _configuration([(item, files.origin(item, file.name)) for item in found], plain, environ, (file,))
    read = files.with_required(file)
    words = profiles.for_diagnose((file,), project, environ)
    effective = await _effective(binary, project, words, environ)
    items_of = [item for document in effective for item in documents.mappings(document.get("portForward"))]
    rendered = items_of
    if not all(is_plain(text) for item in items_of for text in _templated(item).values()):
        rendered = await _rendered(binary, project, words, environ) or items_of
    written = files.written(read)
    restored = [files.restored(item, written, file.name) for item in items_of]
    # A line is found by the name as written; the name itself is the rendered one.
    items = [
        ({**item, **_templated(by_skaffold)}, origin)
        for (item, origin), by_skaffold in zip(restored, rendered, strict=True)
    ]
    return _configuration(items, effective, environ, read)


def _configuration(
    items: Iterable[tuple[object, str]],
    effective: Iterable[documents.Mapping],
    environ: Mapping[str, str],
    read: tuple[File, ...],
) -> Configuration:
    found = [entry(item, origin, environ) for item, origin in items]
    return Configuration(
        entries=tuple(e for e in found if isinstance(e, Entry)),
        bad=tuple(e for e in found if isinstance(e, BadEntry)),
        artifacts=tuple(dict.fromkeys(name for document in effective for name in _artifacts(document))),
        docker=bool(effective) and all(map(_is_docker, effective)),
        kube_context=next((context for document in effective if (context := _kube_context(document))), ""),
        sources=tuple(file.name for file in read),
    )


def _artifacts(document: documents.Mapping) -> list[str]:
    build = document.get("build")
    items = documents.mappings(build.get("artifacts")) if isinstance(build, documents.Mapping) else []
    return [str(item["image"]) for item in items if item.get("image")]


def _kube_context(document: documents.Mapping) -> str:
    """Where it deploys to unless --kube-context says otherwise (schema/latest, DeployConfig)."""
    deploy = document.get("deploy")
    return str(deploy.get("kubeContext") or "") if isinstance(deploy, documents.Mapping) else ""


def _is_docker(document: documents.Mapping) -> bool:
    """Whether it deploys with Docker and with nothing else (schema/latest, DeployType)."""
    deploy = document.get("deploy")
    kinds = deploy.keys() & _DEPLOYERS if isinstance(deploy, documents.Mapping) else set()
    return kinds == {"docker"}


async def _rendered(
    binary: str, project: Project, words: tuple[str, ...], environ: Mapping[str, str]
) -> list[documents.Mapping]:
    """Skaffold's items with its templates rendered; none where one template fails, which fails them all."""
    try:
        effective = await _effective(binary, project, words, environ, render=True)
    except ConfigError:
        return []
    return [item for document in effective for item in documents.mappings(document.get("portForward"))]


async def _effective(
    binary: str, project: Project, words: tuple[str, ...], environ: Mapping[str, str], *, render: bool = False
) -> tuple[documents.Mapping, ...]:
    text = await diagnose(binary, project, words, environ, render=render)
    return documents.documents(text, f"skaffold diagnose of {project.filename}")


def _templated(item: documents.Mapping) -> dict[str, str]:
    return {field: str(item[field]) for field in ("resourceName", "namespace") if item.get(field)}


def _plain(file: File, project: Project) -> tuple[documents.Mapping, ...]:
    if project.modules:
        raise ConfigError("-m needs the skaffold binary on PATH, which was not found")
    for document in file.documents or (documents.Mapping(),):
        version = str(document.get("apiVersion") or "")
        if not _READABLE.fullmatch(version):
            known = f"apiVersion {version!r} needs the skaffold binary on PATH" if version else "missing apiVersion"
            raise ConfigError(f"{file.name}: {known}: without it, skaffold/v1 to skaffold/v4… are read")
        if document.get("requires"):
            line = document.lines["requires"]
            raise ConfigError(f"{file.name} line {line}: `requires` needs the skaffold binary on PATH")
    return profiles.plain(file, project)
