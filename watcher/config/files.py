"""Reads the project's files as they are written: which ones there are, and every `portForward` item in them.

Which items hold is Skaffold's answer (skaffold_yaml.py), or else modules.py's. Skaffold's answer has defaults filled in
and no lines; `restored` takes the defaults out again and finds the line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from watcher import user_files
from watcher.config.documents import Mapping, documents, mappings, text_of
from watcher.config.entries import DEFAULT_ADDRESS
from watcher.config.project import DEFAULT_FILE
from watcher.errors import ConfigError

# Skaffold looks for this where the default file is missing (pkg/skaffold/util/config.go).
OTHER_DEFAULT = "skaffold.yml"
REMOTE = {"git", "googleCloudStorage", "googleCloudBuildRepoV2"}
# Where a patch (JSON Patch) puts the path of one module, and where a module or the list of them.
_REQUIRED_PATH = re.compile(r"/requires/\d+/path")
_REQUIRED = re.compile(r"/requires(/(\d+|-))?")


class File(Struct, frozen=True):
    """One file, its text and its documents. `problem`: why the documents could not be read, "" where they could.

    `place`: the absolute path that it was asked for by, as Skaffold tells files apart: links are not followed.
    """

    name: str
    place: str
    text: str
    documents: tuple[Mapping, ...]
    problem: str = ""


def read(filename: str) -> File:
    """Raises ConfigError: no such file, not a text, not YAML, "-"."""
    file = glanced(filename)
    if file.problem:
        raise ConfigError(file.problem)
    return file


def glanced(filename: str) -> File:
    """The same for a file that Skaffold reads too: one that is not YAML to us may be to Skaffold."""
    if filename == "-":
        raise ConfigError("-f -: standard input belongs to Skaffold; give portside a file")
    path, place = Path(filename), os.path.abspath(filename)
    other = path.with_name(OTHER_DEFAULT) if path.name == DEFAULT_FILE else path
    if not os.path.lexists(path) and os.path.lexists(other):
        path = other
    try:
        text = user_files.read_text(path, user_files.PROJECT_FILE)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; give -f FILE") from None
    try:
        return File(str(path), place, text, documents(text, str(path)))
    except ConfigError as error:
        return File(str(path), place, text, (), str(error))


def with_required(file: File) -> tuple[File, ...]:
    """`file` and the local ones that it requires, directly or not, each once; without those that cannot be read."""
    found = {file.place: file}
    queue = [file]
    while queue:
        current = queue.pop(0)
        for mapping, field in (path for document in current.documents for path in required_paths(document)):
            place = required_place(mapping[field], current)
            if place not in found:
                with suppress(ConfigError):
                    queue.append(glanced(shorter(place)))
                    found[place] = queue[-1]
    return tuple(found.values())


def required_paths(document: Mapping) -> list[tuple[Mapping, str]]:
    """Where a document names local files that it requires: a mapping, and the field in it that holds the path.

    Remote ones have no path here. A profile's patch may bring a path, a module, or a list of them.
    """
    patches = [patch for profile in mappings(document.get("profiles")) for patch in mappings(profile.get("patches"))]
    items = [*mappings(document.get("requires")), *(item for patch in patches for item in _required_by(patch))]
    named = [
        *((item, "path") for item in items if not item.keys() & REMOTE),
        *((patch, "value") for patch in patches if _REQUIRED_PATH.fullmatch(text_of(patch.get("path")))),
    ]
    return [(mapping, field) for mapping, field in named if _is_path(mapping.get(field))]


def _required_by(patch: Mapping) -> list[Mapping]:
    value = patch.get("value")
    if not _REQUIRED.fullmatch(text_of(patch.get("path"))):
        return []
    return mappings(value if isinstance(value, list) else [value])


def required_place(path: str, file: File) -> str:
    """The absolute path of the file that `path` means in `file`, at whose folder it starts. A directory means the
    skaffold.yaml in it.
    """
    there = os.path.normpath(os.path.join(os.path.dirname(file.place), path))
    return os.path.join(there, DEFAULT_FILE) if os.path.isdir(there) else there


def shorter(place: str) -> str:
    """A path as the user would write it: relative where it is below the working directory."""
    folder = os.getcwd() + os.sep
    return place.removeprefix(folder)


def is_url(name: str) -> bool:
    """Whether Skaffold would download it."""
    return name.startswith(("http://", "https://"))


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


def _is_path(value: object) -> bool:
    return isinstance(value, str) and bool(value) and not is_url(value)
