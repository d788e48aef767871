"""Owns the project's files as they are written: which ones there are, and every `portForward` item in them.

Refuses to know which of them hold: that is Skaffold's answer, or profiles.py. Skaffold's answer has defaults filled in
and no lines; `restored` takes the defaults out again and finds the line.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from watcher import user_files
from watcher.config.documents import Mapping, documents, mappings
from watcher.config.entries import DEFAULT_ADDRESS
from watcher.config.errors import ConfigError
from watcher.config.project import DEFAULT_FILE

# Skaffold looks for this where the default file is missing (pkg/skaffold/util/config.go).
OTHER_DEFAULT = "skaffold.yml"


class File(Struct, frozen=True):
    """One file and its documents."""

    name: str
    documents: tuple[Mapping, ...]


def read(filename: str) -> File:
    """Raises ConfigError: no such file, not a text, not YAML, "-"."""
    if filename == "-":
        raise ConfigError("-f -: standard input belongs to Skaffold; give portside a file")
    path = Path(filename)
    other = path.with_name(OTHER_DEFAULT) if path.name == DEFAULT_FILE else path
    if not os.path.lexists(path) and os.path.lexists(other):
        path = other
    try:
        text = user_files.read_text(path, user_files.PROJECT_FILE)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; give -f FILE") from None
    return File(str(path), documents(text, str(path)))


def with_required(file: File) -> tuple[File, ...]:
    """`file` and the local ones it requires, each once. What cannot be read is left out: Skaffold has judged it.

    Paths in the project's own file start at the working directory, as for Skaffold; in required ones, at that file.
    """
    found = {_place(file.name): file}
    queue = [file]
    while queue:
        current = queue.pop(0)
        for name in _required(current, Path() if current is file else Path(current.name).parent):
            if _place(name) not in found:
                try:
                    queue.append(read(name))
                except ConfigError:
                    continue
                found[_place(name)] = queue[-1]
    return tuple(found.values())


def port_forward(mapping: Mapping, filename: str) -> list[object]:
    """The `portForward` list of a document or a profile. Raises ConfigError."""
    items = mapping.get("portForward") or []
    if not isinstance(items, list):
        raise ConfigError(f"{filename} line {mapping.lines['portForward']}: portForward is a list")
    return items


def origin(item: object, filename: str) -> str:
    """Where an item stands, for messages."""
    return f"{filename} line {item.line}" if isinstance(item, Mapping) and item.line else filename


class Written(Struct, frozen=True):
    """One item as a file has it, in a profile or outside."""

    origin: str
    item: Mapping


Identity = tuple[str, ...]


def written(files: tuple[File, ...]) -> dict[Identity, list[Written]]:
    """All items of all files, those outside profiles first."""
    found: dict[Identity, list[Written]] = {}
    for file in files:
        for document in file.documents:
            for part in (document, *mappings(document.get("profiles"))):
                for item in (*mappings(part.get("portForward")), *_patched_in(part)):
                    found.setdefault(_identity(item), []).append(Written(origin(item, file.name), item))
    return found


def _patched_in(profile: Mapping) -> Iterator[Mapping]:
    """Whole items that the profile's patches add; a patched field alone differs from Skaffold's default, or is it."""
    for patch in mappings(profile.get("patches")):
        if str(patch.get("path")).startswith("/portForward/") and isinstance(patch.get("value"), Mapping):
            yield patch["value"]


def restored(item: Mapping, found: dict[Identity, list[Written]], filename: str) -> tuple[dict[str, Any], str]:
    """`item` of Skaffold's answer without the defaults that nobody wrote, and where it stands.

    `diagnose` fills in `localPort` (the remote port where that is a number) and `address`: they are taken as written
    where they differ from these, or where a file says the same.
    """
    same = found.get(_identity(item), [])

    def said(field: str) -> list[Written]:
        return [other for other in same if other.item.get(field) == item.get(field)]

    filled_in = set()
    if item.get("localPort") == item.get("port") and not said("localPort"):
        filled_in.add("localPort")
    if item.get("address") == DEFAULT_ADDRESS and not said("address"):
        filled_in.add("address")
    where = (said("localPort") or same or [Written(filename, item)])[0].origin
    return {name: value for name, value in item.items() if name not in filled_in}, where


def _identity(item: Mapping) -> Identity:
    named = (item.get(field) or "" for field in ("resourceType", "resourceName", "namespace", "port"))
    return tuple(str(value).lower() for value in named)


def _required(file: File, base: Path) -> Iterator[str]:
    """Local configurations named by `requires`: a file, or a directory with one. Remote ones have no path here."""
    remote = {"git", "googleCloudStorage", "googleCloudBuildRepoV2"}
    for document in file.documents:
        for required in mappings(document.get("requires")):
            path = required.get("path")
            if isinstance(path, str) and not required.keys() & remote:
                there = base / path
                yield str(there / DEFAULT_FILE if there.is_dir() else there)


def _place(name: str) -> Path:
    return Path(name).resolve()
