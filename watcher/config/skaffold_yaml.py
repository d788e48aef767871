"""Reads a project: skaffold.yaml, through the skaffold binary if it is found, else from the files alone; portside.yaml.

What only the binary can read (old schemas, patches, remote modules) is an error without it, which names all of it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import trio
from msgspec import Struct
from msgspec.structs import replace

from forwarders.system.processes import find_program
from watcher.cluster import kubeconfig
from watcher.config import documents, modules, project_files
from watcher.config.diagnose import Readable, diagnose, readable_for_diagnose, rendered
from watcher.config.entries import CONTAINER, DEFAULT_FILE, BadEntry, Configuration, Entry, Project, Settings
from watcher.config.port_forward import TemplateRenderer, entry, is_plain
from watcher.config.portside_yaml import FILE, read_settings
from watcher.config.profiles import Situation
from watcher.config.project_files import ProjectFile
from watcher.errors import ConfigError, KubeconfigError

_DEPLOYERS = {"docker", "kubectl", "helm", "kpt", "cloudrun"}
_CLOUD_RUN = "it is deployed to Cloud Run, to which portside does not forward; without portside, Skaffold does"


class LoadedProject(Struct, frozen=True):
    """Both configurations, and the files they come from: portside.yaml even if it does not exist (yet)."""

    configuration: Configuration = Configuration()
    settings: Settings = Settings()
    sources: tuple[Path, ...] = ()


class _Item(Struct, frozen=True):
    """One item of a `portForward`, its configuration, and its file and line."""

    value: object
    document: documents.Mapping
    origin: str


def default_file() -> str | None:
    """The project's file in the working directory, as Skaffold looks for it; None if there is none."""
    return next((name for name in (DEFAULT_FILE, project_files.OTHER_DEFAULT) if os.path.lexists(name)), None)


async def load_all(project: Project | None, environ: Mapping[str, str]) -> LoadedProject:
    """Reads skaffold.yaml, and portside.yaml in the same folder. Raises ConfigError."""
    folder = Path() if project is None or project_files.is_url(project.filename) else Path(project.filename).parent
    settings = await trio.to_thread.run_sync(read_settings, folder)
    configuration = Configuration() if project is None else await load_configuration(project, environ)
    return LoadedProject(configuration, settings, (*map(Path, configuration.sources), folder / FILE))


async def load_configuration(project: Project, environ: Mapping[str, str]) -> Configuration:
    """Reads skaffold.yaml. Raises ConfigError: no such file, not YAML, not valid."""
    _check_folder()
    binary = find_program(project.binary, environ.get("PATH")) if project.binary else None
    if binary is None:
        return await trio.to_thread.run_sync(_from_files, project, environ)
    if project_files.is_url(project.filename):
        read: tuple[ProjectFile, ...] = ()
        answer = await diagnose(binary, Readable(project.filename), project, environ)
    else:
        file = await trio.to_thread.run_sync(project_files.read_leniently, project.filename)
        read = await trio.to_thread.run_sync(project_files.with_required, file)
        with readable_for_diagnose(read, project) as readable:
            answer = await diagnose(binary, readable, project, environ)
    items = await trio.to_thread.run_sync(_answered, answer, read, project.filename)
    version = documents.text_of(answer[0].get("apiVersion")) if answer else ""
    by_skaffold = await rendered(binary, _templates(items), version, environ)
    renderer = TemplateRenderer(environ, by_skaffold)
    return await trio.to_thread.run_sync(_configuration, items, answer, renderer, read, project)


def _check_folder() -> None:
    """Refuses a working directory that was deleted: relative paths have no meaning then. Raises ConfigError."""
    try:
        os.getcwd()
    except OSError as error:
        raise ConfigError(f"the working folder cannot be used: {error.strerror}") from None


def _from_files(project: Project, environ: Mapping[str, str]) -> Configuration:
    file = project_files.read_file(project.filename)
    situation = Situation(project, environ, functools.cache(lambda: _current_context(project)))
    parts = modules.configurations(file, situation)
    items = [
        _Item(value, part.document, project_files.origin(value, part.filename))
        for part in parts
        for value in project_files.port_forward(part.document, part.filename)
    ]
    answer = tuple(part.document for part in parts)
    return _configuration(items, answer, TemplateRenderer(environ), project_files.with_required(file), project)


def _current_context(project: Project) -> str:
    try:
        return kubeconfig.current_context(kubeconfig.files(project.kubeconfig or None))
    except KubeconfigError as error:
        raise ConfigError(f"{error}; a profile is activated by kubeContext") from None


def _answered(answer: Iterable[documents.Mapping], read: tuple[ProjectFile, ...], filename: str) -> list[_Item]:
    """The portForward items of Skaffold's answer, without the defaults that it fills in."""
    written, found = project_files.written_items(read), list[_Item]()
    for document in answer:
        for item in documents.mappings(document.get("portForward")):
            value, origin = project_files.restored(item, written, filename)
            found.append(_Item(value, document, origin))
    return found


def _templates(items: Iterable[_Item]) -> Iterator[str]:
    """The templates in names and namespaces that only Skaffold can render."""
    for item in items:
        for field in ("resourceName", "namespace"):
            text = documents.text_of(item.value.get(field)) if isinstance(item.value, dict) else ""
            if not is_plain(text):
                yield text


def _configuration(
    items: Iterable[_Item],
    answer: tuple[documents.Mapping, ...],
    renderer: TemplateRenderer,
    read: tuple[ProjectFile, ...],
    project: Project,
) -> Configuration:
    contexts = modules.contexts_of(answer, functools.partial(_default_context, project))
    context_of = {id(document): context for document, context in zip(answer, contexts, strict=True)}
    found = [_entry(item, renderer, context_of[id(item.document)]) for item in items]
    return Configuration(
        entries=tuple(e for e in found if isinstance(e, Entry)),
        bad=tuple(e for e in found if isinstance(e, BadEntry)),
        artifacts=tuple(dict.fromkeys(name for document in answer for name in _artifacts(document))),
        docker=bool(answer) and all(_deployers(document) == {"docker"} for document in answer),
        kube_context=next((context for document in answer if (context := modules.kube_context(document))), ""),
        contexts=tuple(dict.fromkeys(filter(None, contexts))),
        sources=tuple(file.name for file in read),
    )


def _entry(item: _Item, renderer: TemplateRenderer, context: str) -> Entry | BadEntry:
    found = entry(item.value, item.origin, renderer)
    if isinstance(found, BadEntry) or found.kind == CONTAINER:
        return found
    if _deployers(item.document) == {"cloudrun"}:
        return BadEntry(found.origin, found.resource_type, found.name, found.namespace, found.port, _CLOUD_RUN)
    return replace(found, context=context)


def _default_context(project: Project) -> str:
    """The current context; "" if there is none: then the first configuration's context is used for the entries."""
    with suppress(KubeconfigError):
        return kubeconfig.current_context(kubeconfig.files(project.kubeconfig or None))
    return ""


def _artifacts(document: documents.Mapping) -> list[str]:
    items = documents.mappings(documents.part_of(document, "build").get("artifacts"))
    return [name for item in items if (name := documents.text_of(item.get("image")))]


def _deployers(document: documents.Mapping) -> set[str]:
    """The deployers that a configuration uses (schema/latest, DeployType)."""
    deploy = documents.part_of(document, "deploy")
    return {name for name in _DEPLOYERS if deploy.get(name) is not None}
