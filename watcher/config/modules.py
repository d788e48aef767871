"""Collects a project's configurations without the skaffold binary, in Skaffold's order (pkg/skaffold/parser).

It follows modules by path and in one file, `activeProfiles`, -m and -p. What only the binary can do is collected, so
that one message names all of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct

from watcher.config import project_files
from watcher.config.documents import Mapping as Document
from watcher.config.documents import mappings, part_of, text_of
from watcher.config.profiles import Situation, active, applied, check_context, patches_beyond_us
from watcher.config.project_files import ProjectFile
from watcher.errors import ConfigError, did_you_mean

# Before v1 some fields of `portForward` had other names and types.
_READABLE = re.compile(r"skaffold/v(1|[2-4]((alpha|beta)\d+)?)")
# Before v2beta10 a port must be a number.
_NUMBERS_ONLY = re.compile(r"skaffold/v(1|2alpha\d+|2beta\d)")


class Part(Struct, frozen=True):
    """One configuration of `filename` with its profiles applied."""

    document: Document
    filename: str


class _Requested(Struct, frozen=True):
    """Which configurations of a file are needed. `names` (): all. `required`: -m does not restrict them."""

    names: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    required: bool = False


def configurations(file: ProjectFile, situation: Situation) -> tuple[Part, ...]:
    """Read a project's configurations, each after the ones it requires. Raises ConfigError."""
    project, walk = situation.project, _Walk(situation)
    parts = tuple(walk.file(file, _Requested(profiles=project.profiles)))
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
    """One reading of a project. `beyond_us`: what only the binary can do. `profiles`: names of all profiles."""

    def __init__(self, situation: Situation) -> None:
        self.beyond_us: list[str] = []
        self.profiles: list[str] = []
        self._situation = situation
        self._visited: dict[tuple[str, int, bool], tuple[str, ...]] = {}
        self._files: dict[str, ProjectFile] = {}

    def file(self, file: ProjectFile, requested: _Requested) -> Iterator[Part]:
        self._check(file)
        for index, document in enumerate(file.documents):
            name = text_of(part_of(document, "metadata").get("name"))
            if not requested.names or name in requested.names:
                yield from self._configuration(file, index, name, requested)

    def _check(self, file: ProjectFile) -> None:
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

    def _configuration(self, file: ProjectFile, index: int, name: str, requested: _Requested) -> Iterator[Part]:
        situation, document = self._situation, file.documents[index]
        modules = situation.project.modules
        required = requested.required or not modules or name in modules
        names = active(document, requested.profiles, situation, file.name)
        self.beyond_us += patches_beyond_us(document, names, file.name)
        effective = applied(document, names, file.name)
        check_context(document, kube_context(effective), situation, file.name)
        if self._seen_before(file, index, required, names):
            return
        for item in mappings(document.get("requires")):
            yield from self._required(item, file, tuple(names), required=required)
        if required:
            yield Part(effective, file.name)

    def _seen_before(self, file: ProjectFile, index: int, required: bool, names: Sequence[str]) -> bool:  # noqa: FBT001 - it is part of the key
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

    def _required(self, item: Document, file: ProjectFile, names: tuple[str, ...], *, required: bool) -> Iterator[Part]:
        configs = item.get("configs")
        requested = _Requested(
            names=tuple(map(text_of, configs)) if isinstance(configs, list) else (),
            profiles=self._inherited(item, names),
            required=required,
        )
        path = item.get("path")
        if item.keys() & project_files.REMOTE or (isinstance(path, str) and project_files.is_url(path)):
            self.beyond_us.append(f"{file.name} line {item.line}: a remote configuration")
            return
        yield from self.file(self._read(text_of(path), file), requested)

    def _inherited(self, item: Document, names: tuple[str, ...]) -> tuple[str, ...]:
        """The profiles for a required configuration: its active `activeProfiles`, and those of -p."""
        found = []
        for profile in mappings(item.get("activeProfiles")):
            by = profile.get("activatedBy")
            if not isinstance(by, list) or not by or {text_of(name) for name in by} & set(names):
                found.append(text_of(profile.get("name")))
        given = self._situation.project.profiles if self._situation.has_flag("propagate-profiles") else ()
        return (*found, *(name for name in given if name not in found))

    def _read(self, path: str, file: ProjectFile) -> ProjectFile:
        if not path:
            return file
        place = project_files.required_place(path, file)
        if place == file.place:
            return file
        if place not in self._files:
            self._files[place] = project_files.read_file(project_files.shorter(place))
        return self._files[place]


def _named_ports(document: Document, file: ProjectFile) -> Iterator[str]:
    for part in (document, *mappings(document.get("profiles"))):
        for item in mappings(part.get("portForward")):
            if not isinstance(item.get("port", 0), int):
                yield project_files.origin(item, file.name)


def kube_context(document: Document) -> str:
    """The context that a configuration deploys to unless --kube-context is given (schema/latest, DeployConfig)."""
    return text_of(part_of(document, "deploy").get("kubeContext"))


def contexts_of(documents: Iterable[Document], current: Callable[[], str]) -> list[str]:
    """The kube-context of each configuration (runner/deployer.go); "" for each if all have the same.

    If one names another context, those without one deploy to the `current` context.
    """
    named = [kube_context(document) for document in documents]
    if len(set(named)) <= 1:
        return ["" for _ in named]
    return [name or current() for name in named]
