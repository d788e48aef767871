"""Owns Skaffold's profiles (pkg/skaffold/schema/profiles.go) as far as portside must know them.

Beside Skaffold's answer: those that `command:` activates, for `diagnose` is itself a command. Without it: plain
replacement of `portForward`. Refuses to guess: what would take more is an error that says so.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping

from watcher.config import documents
from watcher.config.documents import mappings
from watcher.config.errors import ConfigError
from watcher.config.files import File, port_forward
from watcher.config.project import Project

logger = logging.getLogger("portside.config")

_FALSE = {"0", "f", "false"}


def for_diagnose(files: Iterable[File], project: Project, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The -p words with which `diagnose` sees the profiles that `project.command` would: the activated ones first."""
    if environ.get("SKAFFOLD_PROFILE_AUTO_ACTIVATION", "").lower() in _FALSE:
        return project.profiles
    corrected: dict[str, None] = {}
    for file in files:
        for document in file.documents:
            for profile in _undecided(document, project):
                meant = _active(profile, project.command, environ)
                if meant != _active(profile, "diagnose", environ):
                    corrected[str(profile["name"]) if meant else f"-{profile['name']}"] = None
    return (*corrected, *project.profiles)


def plain(file: File, project: Project) -> list[object]:
    """The `portForward` items of a file with `project.profiles`, read without Skaffold. Raises ConfigError."""
    _check_known(file, project)
    items: list[object] = []
    for document in file.documents:
        for profile in _undecided(document, project):
            if profile.get("activation") and _matters(profile):
                name = profile["name"]
                raise ConfigError(
                    f"{file.name} line {profile.line}: whether profile {name} is active is for the skaffold binary "
                    f"to say, which is not on PATH; say -p {name} or -p -{name}"
                )
        items += _with_profiles(document, file, project)
    return items


def _with_profiles(document: documents.Mapping, file: File, project: Project) -> list[object]:
    items = port_forward(document, file.name)
    by_name = {str(profile.get("name")): profile for profile in mappings(document.get("profiles"))}
    for name in project.profiles:
        profile = by_name.get(name)
        if profile is None or f"-{name}" in project.profiles:
            continue
        if _is_patched(profile):
            line = profile.lines["patches"]
            raise ConfigError(f"{file.name} line {line}: patches of portForward need the skaffold binary on PATH")
        items = port_forward(profile, file.name) or items
    return items


def _check_known(file: File, project: Project) -> None:
    profiles = [profile for document in file.documents for profile in mappings(document.get("profiles"))]
    known = [str(profile.get("name")) for profile in profiles]
    for name in project.profiles:
        if not name.startswith("-") and name not in known:
            raise ConfigError(f"{file.name}: there is no profile {name!r}; there are: {', '.join(known) or 'none'}")


def _undecided(document: documents.Mapping, project: Project) -> list[documents.Mapping]:
    """The profiles that -p neither turns on nor off."""
    named = {name.removeprefix("-") for name in project.profiles}
    profiles = mappings(document.get("profiles"))
    return [p for p in profiles if isinstance(p.get("name"), str) and p["name"] not in named]


def _matters(profile: documents.Mapping) -> bool:
    return bool(profile.get("portForward")) or _is_patched(profile)


def _is_patched(profile: documents.Mapping) -> bool:
    paths = (str(patch.get("path")) for patch in mappings(profile.get("patches")))
    return any(path.startswith("/portForward") for path in paths)


def _active(profile: documents.Mapping, command: str, environ: Mapping[str, str]) -> bool:
    """Whether the profile's activation holds under `command`."""
    conditions = mappings(profile.get("activation"))
    if not conditions:
        return False
    met = [_met(condition, str(profile["name"]), command, environ) for condition in conditions]
    return all(met) if profile.get("requiresAllActivations") else any(met)


def _met(condition: documents.Mapping, name: str, command: str, environ: Mapping[str, str]) -> bool:
    """A condition on kube-context alone is the same for every command, so it may count as not met."""
    asked, env = str(condition.get("command") or ""), str(condition.get("env") or "")
    if condition.get("kubeContext"):
        if asked and command != "diagnose":
            logger.warning(
                "profile %s is activated by command and kubeContext together: say -p %s or -p -%s", name, name, name
            )
        return False
    variable, _, value = env.partition("=")
    is_set = environ.get(variable, "")
    env_met = not env or (_regex_equal(value, is_set) if value else not is_set)
    return env_met and (not asked or _regex_equal(asked, command))


def _regex_equal(expected: str, actual: str) -> bool:
    """pkg/skaffold/util/regex.go: equal, or found as a regular expression; a leading ! turns it around."""
    pattern = expected.removeprefix("!")
    try:
        found = pattern == actual or re.search(pattern, actual) is not None
    except re.error:
        found = False
    return found != expected.startswith("!")
