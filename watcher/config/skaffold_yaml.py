"""Owns the way from skaffold.yaml to entries: Skaffold's own answer where its binary is there, else our plain reading.

Refuses to guess: what a plain reading cannot get right (modules, patches, old schemas) is an error that says so.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from forwarders.spec import Ask
from watcher.config import documents
from watcher.config.diagnose import diagnose
from watcher.config.entries import DEFAULT_ADDRESS, BadEntry, Entry, wish_for
from watcher.config.errors import ConfigError
from watcher.config.port_forward import entry

DEFAULT_FILE = "skaffold.yaml"


class Project(Struct, frozen=True, kw_only=True):
    """Which configuration is meant. `command`: Skaffold's (dev, run …), for profiles that it activates."""

    filename: str = DEFAULT_FILE
    profiles: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    binary: str | None = "skaffold"
    command: str = "dev"
    address: str = DEFAULT_ADDRESS


class Configuration(Struct, frozen=True):
    """The entries of a project; `bad` are those that cannot be forwarded while the others can."""

    entries: tuple[Entry, ...] = ()
    bad: tuple[BadEntry, ...] = ()


async def load(project: Project, environ: Mapping[str, str]) -> Configuration:
    """The project's entries. Raises ConfigError: no such file, not YAML, not what skaffold.yaml may hold."""
    raw = list(documents.documents(_read(project.filename), project.filename))
    binary = shutil.which(project.binary, path=environ.get("PATH")) if project.binary else None
    if binary is None:
        items: Iterable[object] = _plain(raw, project)
        return _configuration([entry(item, project.filename, environ, address=project.address) for item in items])
    profiles = (*project.profiles, *_activated_by_command(raw, project))
    text = await diagnose(binary, project.filename, profiles, project.modules, environ)
    effective = documents.documents(text, f"skaffold diagnose of {project.filename}")
    items = [item for document in effective for item in _port_forward(document, project.filename)]
    written = _written(raw)
    return _configuration([_as_written(item, written, project, environ) for item in items])


def _read(filename: str) -> str:
    if filename == "-":
        raise ConfigError("-f -: standard input belongs to Skaffold; give portside a file")
    try:
        return Path(filename).read_text()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "not a text file"
        raise ConfigError(f"{filename} cannot be read: {said}; give -f FILE") from None


def _configuration(found: Iterable[Entry | BadEntry]) -> Configuration:
    found = list(found)
    return Configuration(
        entries=tuple(e for e in found if isinstance(e, Entry)), bad=tuple(e for e in found if isinstance(e, BadEntry))
    )


def _port_forward(document: documents.Mapping, source: str) -> list[object]:
    items = document.get("portForward") or []
    if not isinstance(items, list):
        raise ConfigError(f"{source} line {document.lines['portForward']}: portForward is a list")
    return items


# With Skaffold's answer


def _activated_by_command(raw: list[documents.Mapping], project: Project) -> list[str]:
    """Profiles that `command: dev` activates: diagnose activates those of `command: diagnose` in their place."""
    active = []
    for document in raw:
        for profile in document.get("profiles") or []:
            commands = [a.get("command") for a in profile.get("activation") or [] if isinstance(a, dict)]
            name = profile.get("name")
            if project.command in commands and f"-{name}" not in project.profiles and name not in project.profiles:
                active.append(name)
    return active


Identity = tuple[str, str, str]


def _identity(item: documents.Mapping) -> Identity:
    return str(item.get("resourceType")).lower(), str(item.get("resourceName")), str(item.get("port"))


def _written(raw: list[documents.Mapping]) -> dict[Identity, documents.Mapping]:
    """The items as the file has them, in profiles too: diagnose fills in defaults and knows no lines."""
    written: dict[Identity, documents.Mapping] = {}
    for document in raw:
        for part in (document, *(p for p in document.get("profiles") or [] if isinstance(p, documents.Mapping))):
            for item in part.get("portForward") or []:
                if isinstance(item, documents.Mapping):
                    written.setdefault(_identity(item), item)
    return written


def _as_written(
    item: object, written: Mapping[Identity, documents.Mapping], project: Project, environ: Mapping[str, str]
) -> Entry | BadEntry:
    """Skaffold's item with the line and the explicitness of the file's. Unknown there: equal ports are a default."""
    source = written.get(_identity(item)) if isinstance(item, documents.Mapping) else None
    if not isinstance(item, documents.Mapping):
        return entry(item, project.filename, environ)
    item.line = source.line if source is not None else 0
    if source is not None and "address" not in source:
        item.pop("address", None)
    made = entry(item, project.filename, environ, address=project.address)
    if isinstance(made, BadEntry) or made.wish.ask is not Ask.EXPLICIT:
        return made
    explicit = "localPort" in source if source is not None else made.wish.number != made.port
    if explicit:
        return made
    return Entry(**{name: getattr(made, name) for name in made.__struct_fields__} | {"wish": wish_for(made.port)})


# Without


def _plain(raw: list[documents.Mapping], project: Project) -> list[object]:
    if project.modules:
        raise ConfigError("-m needs the skaffold binary on PATH, which was not found")
    items: list[object] = []
    for document in raw:
        if document.get("requires"):
            line = document.lines["requires"]
            raise ConfigError(f"{project.filename} line {line}: `requires` needs the skaffold binary on PATH")
        if not str(document.get("apiVersion", "")).startswith("skaffold/v"):
            raise ConfigError(f"{project.filename}: missing apiVersion: skaffold/v…")
        items += _with_profiles(document, project)
    return items


def _with_profiles(document: documents.Mapping, project: Project) -> list[object]:
    known = {profile.get("name"): profile for profile in document.get("profiles") or []}
    items = _port_forward(document, project.filename)
    for name in project.profiles:
        profile = known.get(name)
        if profile is None:
            raise ConfigError(
                f"{project.filename}: there is no profile {name!r}; there are: {', '.join(known) or 'none'}"
            )
        if profile.get("patches"):
            line = profile.lines["patches"]
            raise ConfigError(f"{project.filename} line {line}: profile patches need the skaffold binary on PATH")
        if "portForward" in profile:
            items = _port_forward(profile, project.filename)
    return items
