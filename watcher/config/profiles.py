"""Activates and applies Skaffold's profiles without the skaffold binary (pkg/skaffold/schema/profiles.go).

It changes only the parts of a configuration that portside reads. It cannot apply patches of those, and reports them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice

from msgspec import Struct

from watcher.config import documents
from watcher.config.documents import mappings, part_of, text_of
from watcher.config.entries import Project
from watcher.config.project_files import port_forward
from watcher.errors import ConfigError

_AUTOMATIC = "profile-auto-activation"
_FALSE = {"0", "f", "false"}
# The parts of a configuration that decide about forwards.
_READ = ("portForward", "build", "deploy", "requires")

# Syntax of Python's regular expressions that Go rejects: look-around, atomic groups, conditions, back-references.
_PYTHON_ONLY = re.compile(r"(?<!\\)(\\\\)*(\(\?(=|!|<=|<!|>|\(|#|P=)|\\[1-9]|[*+?}]\+)")


class Situation(Struct, frozen=True):
    """What activates profiles. `current_context` reads the kubeconfig, which most projects do not need."""

    project: Project
    environ: Mapping[str, str]
    current_context: Callable[[], str]

    def has_flag(self, name: str) -> bool:
        """Whether a flag of Skaffold is on: it is unless the command line, or its variable, turns it off."""
        prefix = f"--{name}="
        given = next((flag.removeprefix(prefix) for flag in self.project.profile_flags if flag.startswith(prefix)), "")
        variable = self.environ.get(f"SKAFFOLD_{name.upper().replace('-', '_')}", "")
        return (given or variable).lower() not in _FALSE


def active(document: documents.Mapping, named: Iterable[str], situation: Situation, filename: str) -> list[str]:
    """The document's active profiles: the automatic ones, then those named; a `-name` turns one off."""
    profiles = mappings(document.get("profiles"))
    known = [text_of(profile.get("name")) for profile in profiles]
    found: list[str] = []
    if situation.has_flag(_AUTOMATIC):
        found = [name for name, one in zip(known, profiles, strict=True) if _activating(one, situation, filename)]
    for name in named:
        if name.startswith("-"):
            found = [other for other in found if other != name.removeprefix("-")]
        elif name in known and name not in found:
            found.append(name)
    return found


def check_context(document: documents.Mapping, kube_context: str, situation: Situation, filename: str) -> None:
    """Refuses, as Skaffold does, to deploy to another context than a profile was activated by. Raises ConfigError."""
    if situation.project.kube_context or not kube_context or not situation.has_flag(_AUTOMATIC):
        return
    for profile in mappings(document.get("profiles")):
        by_context = any(text_of(one.get("kubeContext")) for one in _activating(profile, situation, filename))
        if by_context and situation.current_context() != kube_context:
            name, current = text_of(profile.get("name")), situation.current_context()
            raise ConfigError(
                f"{filename} line {profile.line}: profile {name} is activated by the context {current!r}, "
                f"and what is deployed goes to {kube_context!r}"
            )


def applied(document: documents.Mapping, names: Iterable[str], filename: str) -> documents.Mapping:
    """The document with these profiles applied. Raises ConfigError if a profile's portForward is not a list."""
    by_name = {text_of(profile.get("name")): profile for profile in mappings(document.get("profiles"))}
    for name in names:
        document = _overlaid(document, by_name[name], filename)
    return document


def patches_beyond_us(document: documents.Mapping, names: Iterable[str], filename: str) -> list[str]:
    """The patches of these profiles that only the binary can apply, each with its line."""
    found = []
    for profile in mappings(document.get("profiles")):
        paths = [text_of(patch.get("path")) for patch in mappings(profile.get("patches"))]
        part = next((part for part in _READ if any(path.startswith(f"/{part}") for path in paths)), "")
        if part and text_of(profile.get("name")) in names:
            found.append(f"{filename} line {profile.lines['patches']}: patches of {part}")
    return found


def _overlaid(document: documents.Mapping, profile: documents.Mapping, filename: str) -> documents.Mapping:
    """Applies one profile: its lists replace the document's unless they are empty; its deployers are added."""
    found = documents.Mapping(document, document.line)
    found.lines = dict(document.lines)
    found.key_lines, found.spans = document.key_lines, document.spans
    if items := port_forward(profile, filename):
        found["portForward"] = items
        found.lines["portForward"] = profile.lines["portForward"]
    build, deploy = part_of(profile, "build"), part_of(profile, "deploy")
    if build.get("artifacts"):
        found["build"] = documents.Mapping({**part_of(document, "build"), "artifacts": build["artifacts"]})
    if deploy:
        given = {field: value for field, value in deploy.items() if value is not None and value != ""}
        found["deploy"] = documents.Mapping({**part_of(document, "deploy"), **given})
    return found


def _activating(profile: documents.Mapping, situation: Situation, filename: str) -> list[documents.Mapping]:
    """The conditions that activate the profile: all of them, or the first that is met; [] if it is not activated."""
    conditions = mappings(profile.get("activation"))
    met = partial(_met, situation=situation, filename=filename)
    if profile.get("requiresAllActivations") is True:
        return conditions if all(map(met, conditions)) else []
    return list(islice(filter(met, conditions), 1))


def _met(condition: documents.Mapping, situation: Situation, filename: str) -> bool:
    command, env, context = (text_of(condition.get(field)) for field in ("command", "env", "kubeContext"))
    variable, equals, value = env.partition("=")
    if env and not equals:
        raise ConfigError(f"{filename} line {condition.lines['env']}: activation by env must be KEY=VALUE, not {env!r}")
    is_set = situation.environ.get(variable, "")
    return (
        (not command or regex_equal(command, situation.project.command))
        and (not env or (regex_equal(value, is_set) if value else not is_set))
        and (not context or regex_equal(context, situation.project.kube_context or situation.current_context()))
    )


def regex_equal(expected: str, actual: str) -> bool:
    """Whether a profile's condition holds, as in Skaffold (pkg/skaffold/util/regex.go).

    `expected` is equal to `actual` or, as a regular expression, found in it; a leading ! inverts the result.
    """
    pattern = expected.removeprefix("!")
    return _matches(pattern, actual) != expected.startswith("!")


def _matches(pattern: str, actual: str) -> bool:
    if pattern == actual:
        return True
    if _PYTHON_ONLY.search(pattern):
        return False
    try:
        return re.search(pattern, actual) is not None
    except (re.error, OverflowError, RecursionError):
        return False
