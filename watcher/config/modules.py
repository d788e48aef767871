"""Puts a project's configurations together where Skaffold's own answer is not to be had (pkg/skaffold/parser).

Modules by path and in one file, `activeProfiles`, -m and -p are followed as Skaffold follows them. What only the binary
can do is collected, so that one message names all of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

from watcher.config import files
from watcher.config.documents import Mapping as Document
from watcher.config.documents import mappings, text_of
from watcher.config.files import File
from watcher.config.profiles import Situation, active, applied, check_context, patches_beyond_us
from watcher.errors import ConfigError, did_you_mean

# Since v1 `portForward` has had today's fields; before, some had other names and types.
_READABLE = re.compile(r"skaffold/v(1|[2-4]((alpha|beta)\d+)?)")
# Before v2beta10 a port is a number, and Skaffold refuses every other.
_NUMBERS_ONLY = re.compile(r"skaffold/v(1|2alpha\d+|2beta\d)")


class Part(Struct, frozen=True):
    """One configuration with its profiles applied. `filename`: where it stands."""

    document: Document
    filename: str


class _Wanted(Struct, frozen=True):
    """Which configurations of a file are asked for. `selection` (): all. `required`: whether -m need not name them."""

    selection: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    required: bool = False


def configurations(file: File, situation: Situation) -> tuple[Part, ...]:
    """The configurations in Skaffold's order: what one requires comes before it. Raises ConfigError."""
    project, walk = situation.project, _Walk(situation)
    parts = tuple(walk.file(file, _Wanted(profiles=project.profiles)))
    if walk.beyond_us:
        what = "; ".join(dict.fromkeys(walk.beyond_us))
        raise ConfigError(f"{file.name} needs the skaffold binary on PATH, which was not found, for this: {what}")
    unknown = [name for name in project.profiles if name.removeprefix("-") not in walk.profiles]
    if unknown:
        name, known = unknown[0].removeprefix("-"), ", ".join(walk.profiles) or "none"
        near = did_you_mean(name, walk.profiles)
        raise ConfigError(f"{file.name}: there is no profile {name!r}; there are: {known}{near}")
    if not parts and project.modules:
        raise ConfigError(f"{file.name}: no configuration is named {', '.join(project.modules)} (-m)")
    return parts


class _Walk:
    """One reading of a project. `beyond_us`: what only the binary can do. `profiles`: the names of all there are."""

    def __init__(self, situation: Situation) -> None:
        self.beyond_us: list[str] = []
        self.profiles: list[str] = []
        self._situation = situation
        self._visited: dict[tuple[str, int, bool], tuple[str, ...]] = {}
        self._files: dict[str, File] = {}

    def file(self, file: File, wanted: _Wanted) -> Iterator[Part]:
        self._check(file)
        for index, document in enumerate(file.documents):
            name = text_of(_metadata(document).get("name"))
            if not wanted.selection or name in wanted.selection:
                yield from self._configuration(file, index, name, wanted)

    def _check(self, file: File) -> None:
        for document in file.documents or (Document(),):
            version = text_of(document.get("apiVersion"))
            if not version:
                raise ConfigError(f"{file.name}: missing apiVersion")
            if not _READABLE.fullmatch(version):
                self.beyond_us.append(f"{file.name}: apiVersion {version}")
            if _NUMBERS_ONLY.fullmatch(version):
                self.beyond_us += [f"{where}: a port by name in {version}" for where in _named_ports(document, file)]
            for profile in mappings(document.get("profiles")):
                if (name := text_of(profile.get("name"))) not in self.profiles:
                    self.profiles.append(name)

    def _configuration(self, file: File, index: int, name: str, wanted: _Wanted) -> Iterator[Part]:
        situation, document = self._situation, file.documents[index]
        modules = situation.project.modules
        required = wanted.required or not modules or name in modules
        names = active(document, wanted.profiles, situation, file.name)
        self.beyond_us += patches_beyond_us(document, names, file.name)
        effective = applied(document, names, file.name)
        check_context(document, kube_context(effective), situation, file.name)
        if self._seen_before(file, index, required, names):
            return
        for item in mappings(document.get("requires")):
            yield from self._required(item, file, tuple(names), required=required)
        if required:
            yield Part(effective, file.name)

    def _seen_before(self, file: File, index: int, required: bool, names: Sequence[str]) -> bool:  # noqa: FBT001 - it is a part of the key
        key, found = (file.place, index, required), tuple(sorted(names))
        if key not in self._visited:
            self._visited[key] = found
            return False
        before = self._visited[key]
        if before != found:
            raise ConfigError(
                f"{file.name}: the configuration at line {file.documents[index].line} is required twice, "
                f"with the profiles {', '.join(before) or 'none'} and {', '.join(found) or 'none'}"
            )
        return True

    def _required(self, item: Document, file: File, names: tuple[str, ...], *, required: bool) -> Iterator[Part]:
        selection = item.get("configs")
        wanted = _Wanted(
            selection=tuple(map(text_of, selection)) if isinstance(selection, list) else (),
            profiles=self._handed_on(item, names),
            required=required,
        )
        path = item.get("path")
        if item.keys() & files.REMOTE or (isinstance(path, str) and files.is_url(path)):
            self.beyond_us.append(f"{file.name} line {item.line}: a remote configuration")
            return
        yield from self.file(self._read(text_of(path), file), wanted)

    def _handed_on(self, item: Document, names: tuple[str, ...]) -> tuple[str, ...]:
        """The profiles for what is required: those of `activeProfiles` that hold, and those of -p."""
        found = []
        for profile in mappings(item.get("activeProfiles")):
            by = profile.get("activatedBy")
            if not isinstance(by, list) or not by or {text_of(name) for name in by} & set(names):
                found.append(text_of(profile.get("name")))
        given = self._situation.project.profiles if self._situation.propagate else ()
        return (*found, *(name for name in given if name not in found))

    def _read(self, path: str, file: File) -> File:
        if not path:
            return file
        place = files.required_place(path, file)
        if place == file.place:
            return file
        if place not in self._files:
            self._files[place] = files.read(files.shorter(place))
        return self._files[place]


def _named_ports(document: Document, file: File) -> Iterator[str]:
    for part in (document, *mappings(document.get("profiles"))):
        for item in mappings(part.get("portForward")):
            if not isinstance(item.get("port", 0), int):
                yield files.origin(item, file.name)


def kube_context(document: Document) -> str:
    """Where it deploys to unless --kube-context says otherwise (schema/latest, DeployConfig)."""
    deploy = document.get("deploy")
    return text_of(deploy.get("kubeContext")) if isinstance(deploy, Document) else ""


def _metadata(document: Document) -> Document:
    found = document.get("metadata")
    return found if isinstance(found, Document) else Document()
