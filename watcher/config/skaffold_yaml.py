"""Reads a project's entries: from Skaffold's own answer where its binary is there, else from the files alone.

What the files alone cannot tell (old schemas, patches, remote modules) is then an error that names all of it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping

import trio
from msgspec import Struct
from msgspec.structs import replace

from forwarders.system.processes import find_program
from watcher.cluster import kubeconfig
from watcher.config import documents, files, modules
from watcher.config.contexts import contexts_of
from watcher.config.copies import Readable, readable_for_diagnose
from watcher.config.diagnose import diagnose, rendered
from watcher.config.entries import CONTAINER, BadEntry, Entry
from watcher.config.files import File
from watcher.config.port_forward import bad_entry, entry
from watcher.config.profiles import Situation
from watcher.config.project import DEFAULT_FILE, Configuration, Project
from watcher.config.templates import Renderer, is_plain
from watcher.errors import ConfigError, KubeconfigError

__all__ = ["DEFAULT_FILE", "Configuration", "Project", "default_file", "load"]

_DEPLOYERS = {"docker", "kubectl", "helm", "kpt", "cloudrun"}
_CLOUD_RUN = "it is deployed to Cloud Run, to which portside does not forward; without portside, Skaffold does"


class _Item(Struct, frozen=True):
    """One item of a `portForward`, the configuration that it belongs to, and where it stands."""

    value: object
    document: documents.Mapping
    origin: str


def default_file() -> str | None:
    """The project's file in the working directory, as Skaffold looks for it; None where there is none."""
    return next((name for name in (DEFAULT_FILE, files.OTHER_DEFAULT) if os.path.lexists(name)), None)


async def load(project: Project, environ: Mapping[str, str]) -> Configuration:
    """The project's entries. Raises ConfigError: no such file, not YAML, not what skaffold.yaml may hold."""
    _check_folder()
    binary = find_program(project.binary, environ.get("PATH")) if project.binary else None
    if binary is None:
        return await trio.to_thread.run_sync(_from_files, project, environ)
    if files.is_url(project.filename):
        read: tuple[File, ...] = ()
        answer = await diagnose(binary, Readable(project.filename), project, environ)
    else:
        read = await trio.to_thread.run_sync(_project_files, project)
        with readable_for_diagnose(read, project) as readable:
            answer = await diagnose(binary, readable, project, environ)
    items = list(_answered(answer, read, project.filename))
    version = documents.text_of(answer[0].get("apiVersion")) if answer else ""
    by_skaffold = await rendered(binary, _templates(items), version, environ)
    return _configuration(items, answer, Renderer(environ, by_skaffold), read, project)


def _check_folder() -> None:
    """Raises ConfigError where the working directory was deleted: no relative path means anything then."""
    try:
        os.getcwd()
    except OSError as error:
        raise ConfigError(f"the working folder cannot be used: {error.strerror}") from None


def _project_files(project: Project) -> tuple[File, ...]:
    return files.with_required(files.glanced(project.filename))


def _from_files(project: Project, environ: Mapping[str, str]) -> Configuration:
    file = files.read(project.filename)
    situation = Situation(project, environ, functools.cache(lambda: _current_context(project)))
    parts = modules.configurations(file, situation)
    items = [
        _Item(value, part.document, files.origin(value, part.filename))
        for part in parts
        for value in files.port_forward(part.document, part.filename)
    ]
    answer = tuple(part.document for part in parts)
    return _configuration(items, answer, Renderer(environ), files.with_required(file), project)


def _current_context(project: Project) -> str:
    try:
        return kubeconfig.current_context(kubeconfig.files(project.kubeconfig or None))
    except KubeconfigError as error:
        raise ConfigError(f"{error}; a profile is activated by kubeContext") from None


def _answered(answer: Iterable[documents.Mapping], read: tuple[File, ...], filename: str) -> Iterator[_Item]:
    """The items of Skaffold's answer, without the defaults that it fills in."""
    written = files.written(read)
    for document in answer:
        for item in documents.mappings(document.get("portForward")):
            value, origin = files.restored(item, written, filename)
            yield _Item(value, document, origin)


def _templates(items: Iterable[_Item]) -> Iterator[str]:
    """Those of names and namespaces that take more than the environment."""
    for item in items:
        for field in ("resourceName", "namespace"):
            text = documents.text_of(item.value.get(field)) if isinstance(item.value, dict) else ""
            if not is_plain(text):
                yield text


def _configuration(
    items: Iterable[_Item],
    answer: Iterable[documents.Mapping],
    renderer: Renderer,
    read: tuple[File, ...],
    project: Project,
) -> Configuration:
    answer = tuple(answer)
    contexts = contexts_of(answer, functools.partial(_default_context, project))
    context_of = {id(document): context for document, context in zip(answer, contexts, strict=True)}
    found = [_in_context(_entry(item, renderer), context_of[id(item.document)]) for item in items]
    return Configuration(
        entries=tuple(e for e in found if isinstance(e, Entry)),
        bad=tuple(e for e in found if isinstance(e, BadEntry)),
        artifacts=tuple(dict.fromkeys(name for document in answer for name in _artifacts(document))),
        docker=bool(answer) and all(_deployers(document) == {"docker"} for document in answer),
        kube_context=next((context for document in answer if (context := modules.kube_context(document))), ""),
        contexts=tuple(dict.fromkeys(filter(None, contexts))),
        sources=tuple(file.name for file in read),
    )


def _entry(item: _Item, renderer: Renderer) -> Entry | BadEntry:
    found = entry(item.value, item.origin, renderer)
    if isinstance(found, Entry) and found.kind != CONTAINER and _deployers(item.document) == {"cloudrun"}:
        return bad_entry(item.value, item.origin, _CLOUD_RUN) if isinstance(item.value, dict) else found
    return found


def _in_context(found: Entry | BadEntry, context: str) -> Entry | BadEntry:
    return replace(found, context=context) if isinstance(found, Entry) and found.kind != CONTAINER else found


def _default_context(project: Project) -> str:
    """The current one; "" where there is none: then the entries are where the first configuration is."""
    try:
        return kubeconfig.current_context(kubeconfig.files(project.kubeconfig or None))
    except KubeconfigError:
        return ""


def _artifacts(document: documents.Mapping) -> list[str]:
    build = document.get("build")
    items = documents.mappings(build.get("artifacts")) if isinstance(build, documents.Mapping) else []
    return [name for item in items if (name := documents.text_of(item.get("image")))]


def _deployers(document: documents.Mapping) -> set[str]:
    """What it deploys with (schema/latest, DeployType)."""
    deploy = document.get("deploy")
    if not isinstance(deploy, documents.Mapping):
        return set()
    return {name for name in _DEPLOYERS if deploy.get(name) is not None}
