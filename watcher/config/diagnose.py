"""Asks Skaffold for a project's effective configuration: `skaffold diagnose --yaml-only`.

It needs no cluster and applies modules, profiles and patches, in 0.1 to 0.2 s. `diagnose` differs from `dev` in two
ways: conditions on the command see "diagnose", and `requires` in the project's own file is relative to the working
directory instead of the file's folder. If either matters, `diagnose` gets copies of the files in which only those words
are replaced.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import trio
from msgspec import Struct

from forwarders.system.files import temporary_file
from forwarders.system.processes import end_process, read_within
from watcher.config import documents
from watcher.config.documents import Span, mappings, text_of
from watcher.config.entries import Project
from watcher.config.profiles import regex_equal
from watcher.config.project_files import ProjectFile, required_paths, required_place
from watcher.errors import ConfigError, one_line

# Seconds. It reads files; remote modules may have to be cloned.
TIMEOUT = 60.0
# Bytes. A project's configuration has some thousand lines.
MAX_OUTPUT = 16 * 1024 * 1024
# Each `SKAFFOLD_<FLAG>` sets that flag of every command, also of diagnose, and skaffold.env sets variables that are not
# set. So those that would open ports, write files or change what is printed are set here, to their defaults.
_QUIET = {
    **dict.fromkeys(("SKAFFOLD_RPC_PORT", "SKAFFOLD_RPC_HTTP_PORT"), ""),
    **dict.fromkeys(("SKAFFOLD_EVENT_LOG_FILE", "SKAFFOLD_LAST_LOG_FILE", "SKAFFOLD_OUTPUT"), ""),
    **dict.fromkeys(("SKAFFOLD_ENABLE_RPC", "SKAFFOLD_WAIT_FOR_CONNECTION", "SKAFFOLD_UPDATE_CHECK"), "false"),
    **dict.fromkeys(("SKAFFOLD_INTERACTIVE", "SKAFFOLD_TIMESTAMPS", "SKAFFOLD_FORCE_COLORS"), "false"),
    **dict.fromkeys(("SKAFFOLD_ENABLE_TEMPLATING", "SKAFFOLD_HELP"), "false"),
    "SKAFFOLD_VERBOSITY": "warning",
    "SKAFFOLD_COLOR": "0",
}
# Given on the command line, whose lists are appended to these variables' lists.
_NAMED = dict.fromkeys(("SKAFFOLD_PROFILE", "SKAFFOLD_MODULE"), "")
# A variable in a template.
_LOOKED_UP = re.compile(r"\.([A-Za-z_]\w*)")
_DIAGNOSE = "diagnose"
# An anchor or a tag before a value stays: aliases may refer to the anchor.
_PROPERTIES = re.compile(r"([&!]\S*\s+)*")


class Readable(Struct, frozen=True):
    """The file, perhaps a copy, that `skaffold diagnose` reads. `originals`: each copy's original name."""

    name: str
    originals: Mapping[str, str] = {}

    def in_originals_terms(self, text: str) -> str:
        """Skaffold's message with the names of the user's files."""
        for copy, original in self.originals.items():
            text = text.replace(copy, original)
        return text


@contextmanager
def readable_for_diagnose(files: tuple[ProjectFile, ...], project: Project) -> Iterator[Readable]:
    """Make the file that `diagnose` reads. `files`: the project's own and those it requires. Raises ConfigError."""
    if not _needs_copies(files, project):
        yield Readable(project.filename)
        return
    try:
        folder = tempfile.TemporaryDirectory(prefix="portside-")
    except OSError as error:
        raise ConfigError(f"no temporary folder for copies of {project.filename}: {error.strerror}") from None
    with folder:
        # A file that portside cannot read cannot be edited, and a copy of it would look for its modules in our folder.
        read = [file for file in files if not file.problem]
        copied = {file.place: os.path.join(folder.name, f"{number}.yaml") for number, file in enumerate(read)}
        for file in read:
            _write(Path(copied[file.place]), _edited(file, _edits(file, project, copied)))
        yield Readable(copied[files[0].place], {copied[file.place]: file.name for file in read})


def _needs_copies(files: tuple[ProjectFile, ...], project: Project) -> bool:
    if any(_command_edits(file, project) for file in files):
        return True
    own = files[0]
    elsewhere = os.path.dirname(own.place) != os.getcwd()
    return elsewhere and any(required_paths(document) for document in own.documents)


def _write(path: Path, text: str) -> None:
    try:
        # ProjectFile names need not be valid text; line ends are kept.
        path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None


def _edits(file: ProjectFile, project: Project, copied: Mapping[str, str]) -> dict[Span, str]:
    """The replacements for parts of a file in its copy for `diagnose`."""
    edits = _command_edits(file, project)
    for mapping, field in (path for document in file.documents for path in required_paths(document)):
        place = required_place(mapping[field], file)
        edits[mapping.spans[field]] = copied.get(place, place)
    return edits


def _command_edits(file: ProjectFile, project: Project) -> dict[Span, str]:
    """Replaces each condition that holds for the project's command but not for `diagnose`, or the reverse."""
    edits = {}
    for profile in (profile for document in file.documents for profile in mappings(document.get("profiles"))):
        for condition in mappings(profile.get("activation")):
            command = text_of(condition.get("command"))
            holds = regex_equal(command, project.command)
            if command and holds != regex_equal(command, _DIAGNOSE):
                edits[condition.spans["command"]] = _DIAGNOSE if holds else f"!{_DIAGNOSE}"
    return edits


def _edited(file: ProjectFile, edits: Mapping[Span, str]) -> str:
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


def quiet_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a Skaffold that opens no ports and prints only its answer."""
    return {**environ, **_QUIET}


async def diagnose(
    binary: str, readable: Readable, project: Project, environ: Mapping[str, str]
) -> tuple[documents.Mapping, ...]:
    """Run `skaffold diagnose`: the effective configurations. Raises ConfigError with Skaffold's own message."""
    words = ["--filename", readable.name, *project.profile_flags]
    words += [word for profile in project.profiles for word in ("--profile", profile)]
    words += [word for module in project.modules for word in ("--module", module)]
    # `diagnose` has no flags for these, but takes their variables.
    cluster = {"SKAFFOLD_KUBE_CONTEXT": project.kube_context, "SKAFFOLD_KUBECONFIG": project.kubeconfig}
    try:
        return await _answer(binary, words, {**environ, **cluster}, project.filename)
    except ConfigError as error:
        raise ConfigError(readable.in_originals_terms(str(error))) from None


async def rendered(
    binary: str, templates: Iterable[str], api_version: str, environ: Mapping[str, str]
) -> dict[str, str]:
    """The templates as Skaffold renders them (Go's, with sprig's functions); those that it cannot render are left out.

    `diagnose` treats a variable that is not set as empty, `dev` as an error. So a template whose result would change if
    the variable were set is left out too.
    """
    requested = tuple(dict.fromkeys(templates))
    found = await _rendered_by_halves(binary, requested, api_version, environ)
    unset = {template: set(_LOOKED_UP.findall(template)) - environ.keys() for template in found}
    doubtful = tuple(template for template, names in unset.items() if names)
    all_set = {**environ, **{name: "set" for names in unset.values() for name in names}}
    other = await _rendered_by_halves(binary, doubtful, api_version, all_set)
    return {template: text for template, text in found.items() if not unset[template] or other.get(template) == text}


async def _rendered_by_halves(
    binary: str, templates: tuple[str, ...], api_version: str, environ: Mapping[str, str]
) -> dict[str, str]:
    """Renders the templates; after a failure each half alone, because one bad template makes the command fail."""
    if not templates:
        return {}
    try:
        return dict(zip(templates, await _rendered(binary, templates, api_version, environ), strict=True))
    except ConfigError:
        halves = (templates[: len(templates) // 2], templates[len(templates) // 2 :]) if len(templates) > 1 else ()
        found: dict[str, str] = {}
        for half in halves:
            found |= await _rendered_by_halves(binary, half, api_version, environ)
        return found


async def _rendered(binary: str, templates: Sequence[str], api_version: str, environ: Mapping[str, str]) -> list[str]:
    """Renders a configuration that has only one entry for each template, with the template as its name."""
    items = [{"resourceType": "pod", "resourceName": template, "port": 1} for template in templates]
    content = {"apiVersion": api_version, "kind": "Config", "portForward": items}
    try:
        with temporary_file(json.dumps(content).encode(), ".yaml") as name:  # JSON is YAML
            answer = await _answer(binary, ["--enable-templating", "--filename", name], environ, "templates")
    except OSError as error:
        raise ConfigError(f"no temporary file for skaffold diagnose: {error.strerror}") from None
    found = [item for document in answer for item in mappings(document.get("portForward"))]
    if len(found) != len(templates):
        raise ConfigError(f"`{binary} diagnose` returned {len(found)} entries for {len(templates)} templates")
    return [text_of(item.get("resourceName")) for item in found]


async def _answer(
    binary: str, words: Sequence[str], environ: Mapping[str, str], filename: str
) -> tuple[documents.Mapping, ...]:
    command, environment = [binary, _DIAGNOSE, "--yaml-only", *words], quiet_environment(environ) | _NAMED
    answer, problems = bytearray(), bytearray()
    try:
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )
    except OSError as error:
        raise ConfigError(f"{binary} cannot be started to read {filename}: {error.strerror}") from None
    try:
        with trio.move_on_after(TIMEOUT) as in_time:
            async with trio.open_nursery() as readers:
                for pipe, into in ((process.stdout, answer), (process.stderr, problems)):
                    stream = cast("trio.abc.ReceiveStream", pipe)
                    readers.start_soon(read_within, MAX_OUTPUT, stream, into, readers.cancel_scope)
                await process.wait()
    finally:
        await end_process(process, group=False)
    if max(len(answer), len(problems)) > MAX_OUTPUT:
        raise ConfigError(f"`{binary} diagnose` printed more than {MAX_OUTPUT >> 20} MiB for {filename}")
    if in_time.cancelled_caught:
        raise ConfigError(f"`{binary} diagnose` did not read {filename} within {TIMEOUT:.0f} s")
    if process.returncode != 0:
        message = one_line(problems.decode(errors="replace"), 300, 100)
        raise ConfigError(f"{filename}: Skaffold cannot read it: {message or f'exit code {process.returncode}'}")
    text = answer.decode(errors="replace")
    return await trio.to_thread.run_sync(documents.documents, text, f"skaffold diagnose of {filename}")
