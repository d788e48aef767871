"""Reads the project's files as they are written: the file itself, the files it requires, their `portForward` items.

Which of the items are active is decided by Skaffold (skaffold_yaml.py) or by modules.py. Skaffold's answer has defaults
filled in and no lines; `restored` removes the defaults and finds the line.
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
from watcher.config.entries import DEFAULT_ADDRESS, DEFAULT_FILE
from watcher.errors import ConfigError

# Skaffold looks for this if the default file is missing (pkg/skaffold/util/config.go).
OTHER_DEFAULT = "skaffold.yml"
REMOTE = {"git", "googleCloudStorage", "googleCloudBuildRepoV2"}
# Where a patch (JSON Patch) sets the path of one module, and where it adds modules.
_REQUIRED_PATH = re.compile(r"/requires/\d+/path")
_REQUIRED = re.compile(r"/requires(/(\d+|-))?")


class ProjectFile(Struct, frozen=True):
    """One file, its text and its documents. `problem`: why the documents could not be read, "" if they could.

    `place`: its absolute path as requested, which identifies files for Skaffold: links are not followed.
    """

    name: str
    place: str
    text: str
    documents: tuple[Mapping, ...]
    problem: str = ""


def read_file(filename: str) -> ProjectFile:
    """Reads and parses a project file. Raises ConfigError: no such file, not a text, not YAML, "-"."""
    file = read_leniently(filename)
    if file.problem:
        raise ConfigError(file.problem)
    return file


def read_leniently(filename: str) -> ProjectFile:
    """Like `read_file`, but a text that we cannot parse becomes `problem`: Skaffold may be able to read it."""
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
        return ProjectFile(str(path), place, text, documents(text, str(path)))
    except ConfigError as error:
        return ProjectFile(str(path), place, text, (), str(error))


def with_required(file: ProjectFile) -> tuple[ProjectFile, ...]:
    """`file` and the local files that it requires, directly or not, each once. Unreadable ones are left out."""
    found = {file.place: file}
    queue = [file]
    while queue:
        current = queue.pop(0)
        for mapping, field in (path for document in current.documents for path in required_paths(document)):
            place = required_place(mapping[field], current)
            if place not in found:
                with suppress(ConfigError):
                    queue.append(read_leniently(shorter(place)))
                    found[place] = queue[-1]
    return tuple(found.values())


def required_paths(document: Mapping) -> list[tuple[Mapping, str]]:
    """Where a document names required local files: the mapping, and its field that holds the path.

    Remote files have no path here. A profile's patch may add a path, a module, or a list of modules.
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


def required_place(path: str, file: ProjectFile) -> str:
    """The absolute path of `path` in `file`, relative to its folder. A directory means the skaffold.yaml in it."""
    there = os.path.normpath(os.path.join(os.path.dirname(file.place), path))
    return os.path.join(there, DEFAULT_FILE) if os.path.isdir(there) else there


def shorter(place: str) -> str:
    """A path as the user would write it: relative if it is below the working directory."""
    folder = os.getcwd() + os.sep
    return place.removeprefix(folder)


def is_url(name: str) -> bool:
    """Whether the file is a URL, which Skaffold downloads."""
    return name.startswith(("http://", "https://"))


def port_forward(mapping: Mapping, filename: str) -> list[object]:
    """The `portForward` list of a document or a profile. Raises ConfigError."""
    items = mapping.get("portForward") or []
    if not isinstance(items, list):
        raise ConfigError(f"{filename} line {mapping.lines['portForward']}: portForward must be a list")
    return items


def origin(item: object, filename: str) -> str:
    """The file and line of an item, for messages."""
    return f"{filename} line {item.line}" if isinstance(item, Mapping) and item.line else filename


# The items that are written in the files, each with its origin, by what identifies an item.
Identity = tuple[str, ...]
WrittenItems = dict[Identity, list[tuple[str, Mapping]]]


def written_items(files: tuple[ProjectFile, ...]) -> WrittenItems:
    """All portForward items as written in all files, for `restored`; those outside profiles first."""
    found: WrittenItems = {}
    for file in files:
        for document in file.documents:
            for part in (document, *mappings(document.get("profiles"))):
                for item in (*mappings(part.get("portForward")), *_patched_in(part)):
                    found.setdefault(_identity(item), []).append((origin(item, file.name), item))
    return found


def _patched_in(profile: Mapping) -> Iterator[Mapping]:
    """The portForward items that the profile's patches add whole. A patched field alone needs no search."""
    for patch in mappings(profile.get("patches")):
        if str(patch.get("path")).startswith("/portForward/") and isinstance(patch.get("value"), Mapping):
            yield patch["value"]


def restored(item: Mapping, found: WrittenItems, filename: str) -> tuple[dict[str, Any], str]:
    """Finds an `item` of Skaffold's answer as it was written, without Skaffold's defaults, and its file and line.

    `diagnose` fills in `localPort` (the remote port if that is a number) and `address`. They count as written if they
    differ from these defaults, or if a file has the same value.
    """
    same = found.get(_identity(item), [])

    def same_in(field: str) -> list[tuple[str, Mapping]]:
        return [(origin, other) for origin, other in same if other.get(field) == item.get(field)]

    defaults = {"localPort": item.get("port"), "address": DEFAULT_ADDRESS}
    filled_in = {field for field, value in defaults.items() if item.get(field) == value and not same_in(field)}
    where, _ = (same_in("localPort") or same or [(filename, item)])[0]
    return {name: value for name, value in item.items() if name not in filled_in}, where


def _identity(item: Mapping) -> Identity:
    named = (item.get(field) or "" for field in ("resourceType", "resourceName", "namespace", "port"))
    return tuple(str(value).lower() for value in named)


def _is_path(value: object) -> bool:
    return isinstance(value, str) and bool(value) and not is_url(value)
