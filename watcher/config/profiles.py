"""Owns Skaffold's profiles (pkg/skaffold/schema/profiles.go) as far as portside must know them.

Beside Skaffold's answer: those that `command:` activates, for `diagnose` is itself a command. Without it: plain
replacement of what portside reads. Refuses to guess: what would take more is an error that says so.
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
from watcher.suggestions import did_you_mean

logger = logging.getLogger("portside.config")

_FALSE = {"0", "f", "false"}
_AUTO_ACTIVATION = "--profile-auto-activation="
# What of a configuration decides about forwards.
_READ = ("portForward", "build", "deploy")


def for_diagnose(files: Iterable[File], project: Project, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The -p words with which `diagnose` sees the profiles that `project.command` would, in the same order.

    Skaffold applies the activated ones in the file's order, then those of -p (schema/profiles.go): where any of them
    has to be named, all are, after `-name` for those that `diagnose` would activate by itself.
    """
    said = next((flag for flag in project.profile_flags if flag.startswith(_AUTO_ACTIVATION)), "").lower()
    if (said.removeprefix(_AUTO_ACTIVATION) or environ.get("SKAFFOLD_PROFILE_AUTO_ACTIVATION", "").lower()) in _FALSE:
        return project.profiles
    undecided = [one for file in files for document in file.documents for one in _undecided(document, project)]
    meant, seen = (
        [str(one["name"]) for one in undecided if _active(one, command, project.kube_context, environ)]
        for command in (project.command, "diagnose")
    )
    return project.profiles if meant == seen else (*(f"-{name}" for name in seen), *meant, *project.profiles)


def plain(file: File, project: Project) -> tuple[documents.Mapping, ...]:
    """A file's documents with `project.profiles` applied, as far as portside reads them. Raises ConfigError."""
    _check_known(file, project)
    for document in file.documents:
        for profile in _undecided(document, project):
            if profile.get("activation") and _matters(profile):
                name = profile["name"]
                raise ConfigError(
                    f"{file.name} line {profile.line}: whether profile {name} is active is for the skaffold binary "
                    f"to say, which is not on PATH; say -p {name} or -p -{name}"
                )
    return tuple(_with_profiles(document, file, project) for document in file.documents)


def _with_profiles(document: documents.Mapping, file: File, project: Project) -> documents.Mapping:
    by_name = {str(profile.get("name")): profile for profile in mappings(document.get("profiles"))}
    for name in project.profiles:
        profile = by_name.get(name)
        if profile is None or f"-{name}" in project.profiles:
            continue
        if patched := _patched(profile):
            line = profile.lines["patches"]
            raise ConfigError(f"{file.name} line {line}: patches of {patched} need the skaffold binary on PATH")
        document = _overlaid(document, profile, file)
    return document


def _overlaid(document: documents.Mapping, profile: documents.Mapping, file: File) -> documents.Mapping:
    """A profile's list replaces the document's unless it is empty; what it deploys with is added."""
    found = documents.Mapping(document)
    found.line, found.lines = document.line, dict(document.lines)
    if items := port_forward(profile, file.name):
        found["portForward"] = items
        found.lines["portForward"] = profile.lines["portForward"]
    build, deploy = _part(profile, "build"), _part(profile, "deploy")
    if build.get("artifacts"):
        found["build"] = documents.Mapping({**_part(document, "build"), "artifacts": build["artifacts"]})
    if deploy:
        found["deploy"] = documents.Mapping({**_part(document, "deploy"), **deploy})
    return found


def _part(mapping: documents.Mapping, field: str) -> documents.Mapping:
    part = mapping.get(field)
    return part if isinstance(part, documents.Mapping) else documents.Mapping()


def _check_known(file: File, project: Project) -> None:
    profiles = [profile for document in file.documents for profile in mappings(document.get("profiles"))]
    known = [str(profile.get("name")) for profile in profiles]
    for name in project.profiles:
        if not name.startswith("-") and name not in known:
            there = f"{', '.join(known) or 'none'}{did_you_mean(name, known)}"
            raise ConfigError(f"{file.name}: there is no profile {name!r}; there are: {there}")


def _undecided(document: documents.Mapping, project: Project) -> list[documents.Mapping]:
    """The profiles that -p neither turns on nor off."""
    named = {name.removeprefix("-") for name in project.profiles}
    profiles = mappings(document.get("profiles"))
    return [p for p in profiles if isinstance(p.get("name"), str) and p["name"] not in named]


def _matters(profile: documents.Mapping) -> bool:
    changed = profile.get("portForward") or _part(profile, "build").get("artifacts") or _part(profile, "deploy")
    return bool(changed or _patched(profile))


def _patched(profile: documents.Mapping) -> str:
    """Which of the parts that portside reads the profile patches; "" for none."""
    paths = [str(patch.get("path")) for patch in mappings(profile.get("patches"))]
    return next((part for part in _READ if any(path.startswith(f"/{part}") for path in paths)), "")


def _active(profile: documents.Mapping, command: str, context: str, environ: Mapping[str, str]) -> bool:
    """Whether the profile's activation holds under `command`."""
    conditions = mappings(profile.get("activation"))
    if not conditions:
        return False
    met = [_met(condition, str(profile["name"]), command, context, environ) for condition in conditions]
    return all(met) if profile.get("requiresAllActivations") else any(met)


def _met(condition: documents.Mapping, name: str, command: str, context: str, environ: Mapping[str, str]) -> bool:
    """`context` "": not known here. A condition on it alone is the same for every command, so it may count as unmet."""
    asked, env = str(condition.get("command") or ""), str(condition.get("env") or "")
    asked_context = str(condition.get("kubeContext") or "")
    if asked_context and not context:
        if asked and command != "diagnose":
            logger.warning(
                "profile %s is activated by command and kubeContext together: say -p %s or -p -%s", name, name, name
            )
        return False
    variable, _, value = env.partition("=")
    is_set = environ.get(variable, "")
    env_met = not env or (_regex_equal(value, is_set) if value else not is_set)
    context_met = not asked_context or _regex_equal(asked_context, context)
    return env_met and context_met and (not asked or _regex_equal(asked, command))


def _regex_equal(expected: str, actual: str) -> bool:
    """pkg/skaffold/util/regex.go: equal, or found as a regular expression; a leading ! turns it around."""
    pattern = expected.removeprefix("!")
    try:
        found = pattern == actual or re.search(pattern, actual) is not None
    except re.error:
        found = False
    return found != expected.startswith("!")
