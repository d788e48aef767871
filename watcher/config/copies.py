"""Gives `skaffold diagnose` the project's files as `skaffold dev` would understand them.

`diagnose` differs from `dev` in two ways: conditions on the command see "diagnose", and `requires` in the project's own
file starts at the working directory instead of the file's folder. Where either matters, copies are written in which
those few words are replaced; everything else is for Skaffold to judge, from the very text of the user.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from watcher.config.documents import Span, mappings, text_of
from watcher.config.files import File, required_paths, required_place
from watcher.config.project import Project
from watcher.config.regexes import regex_equal
from watcher.errors import ConfigError

_DIAGNOSE = "diagnose"
# An anchor or a tag before a value belongs to it, and others may refer to the anchor.
_PROPERTIES = re.compile(r"([&!]\S*\s+)*")


class Readable(Struct, frozen=True):
    """The file to name to `diagnose`. `originals`: the name of each copy to that of its original."""

    name: str
    originals: Mapping[str, str] = {}

    def in_originals_terms(self, text: str) -> str:
        """Skaffold's words with the user's files in them."""
        for copy, original in self.originals.items():
            text = text.replace(copy, original)
        return text


@contextmanager
def readable_for_diagnose(files: tuple[File, ...], project: Project) -> Iterator[Readable]:
    """`files`: the project's own and those that it requires. Raises ConfigError where copies cannot be written."""
    if not _needs_copies(files, project):
        yield Readable(project.filename)
        return
    try:
        folder = tempfile.TemporaryDirectory(prefix="portside-")
    except OSError as error:
        raise ConfigError(f"no temporary folder for copies of {project.filename}: {error.strerror}") from None
    with folder:
        # What portside cannot read it cannot edit: a copy of it would look for its modules beside the copy.
        read = [file for file in files if not file.problem]
        copied = {file.place: os.path.join(folder.name, f"{number}.yaml") for number, file in enumerate(read)}
        for file in read:
            _write(Path(copied[file.place]), _edited(file, _edits(file, project, copied)))
        yield Readable(copied[files[0].place], {copied[file.place]: file.name for file in read})


def _needs_copies(files: tuple[File, ...], project: Project) -> bool:
    if any(_command_edits(file, project) for file in files):
        return True
    own = files[0]
    elsewhere = os.path.dirname(own.place) != os.getcwd()
    return elsewhere and any(required_paths(document) for document in own.documents)


def _write(path: Path, text: str) -> None:
    try:
        # Names of files need not be texts; ends of lines stay as they are.
        path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None


def _edits(file: File, project: Project, copied: Mapping[str, str]) -> dict[Span, str]:
    """What to write instead of which parts of the file's text."""
    edits = _command_edits(file, project)
    for mapping, field in (path for document in file.documents for path in required_paths(document)):
        place = required_place(mapping[field], file)
        edits[mapping.spans[field]] = copied.get(place, place)
    return edits


def _command_edits(file: File, project: Project) -> dict[Span, str]:
    """A condition that holds for the project's command and not for `diagnose`, or the other way round."""
    edits = {}
    for profile in (profile for document in file.documents for profile in mappings(document.get("profiles"))):
        for condition in mappings(profile.get("activation")):
            command = text_of(condition.get("command"))
            holds = regex_equal(command, project.command)
            if command and holds != regex_equal(command, _DIAGNOSE):
                edits[condition.spans["command"]] = _DIAGNOSE if holds else f"!{_DIAGNOSE}"
    return edits


def _edited(file: File, edits: Mapping[Span, str]) -> str:
    """The text with each span replaced by a quoted scalar, from the last to the first."""
    text = file.text
    for (start, end), value in sorted(edits.items(), reverse=True):
        written = text[start:end]
        properties = _PROPERTIES.match(written)
        before = "" if written.startswith("*") or properties is None else properties[0]
        # A block scalar (`|`, `>`) ends with its last line.
        after = "\n" * written.count("\n") if written.endswith("\n") else ""
        text = f"{text[:start]}{before}{json.dumps(value, ensure_ascii=False)}{after}{text[end:]}"
    return text
