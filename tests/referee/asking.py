"""Asks the referee and portside about the same call of Skaffold on the same project."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import trio

from fixtures.referee.compare import NEEDS, differences
from fixtures.referee.referee import Question, Referee
from watcher.config.entries import Configuration, Project
from watcher.config.skaffold_yaml import load_configuration
from watcher.errors import ConfigError


class Outcome(Enum):
    """The result. If they differ there is an AssertionError instead."""

    AGREE = "both read the same"
    BOTH_REFUSE = "neither reads it"
    REFUSED = "portside refuses it, and says that it needs the binary"


def read_by_portside(question: Question, binary: str | None) -> Configuration:
    """The project as portside reads it. Must run in the question's folder. Raises ConfigError."""
    flags = {"profile-auto-activation": question.auto_activation, "propagate-profiles": question.propagate}
    project = Project(
        filename=question.file,
        profiles=question.profiles,
        modules=question.modules,
        binary=binary,
        command=question.command,
        kube_context=question.kube_context,
        profile_flags=tuple(f"--{name}={str(on).lower()}" for name, on in flags.items()),
    )
    return trio.run(load_configuration, project, question.env)


def outcome(referee: Referee, question: Question, binary: str | None) -> Outcome:
    """Raises AssertionError if the two differ, or if portside refuses without a true reason."""
    ruling = referee.ask(question)
    try:
        found = read_by_portside(question, binary)
    except ConfigError as error:
        if ruling.error:
            return Outcome.BOTH_REFUSE
        if binary is None and NEEDS in str(error):
            return Outcome.REFUSED
        raise AssertionError(f"{error}; Skaffold reads it") from error
    assert not (differing := differences(ruling, found, question.kube_context)), "\n".join(differing)
    return Outcome.AGREE


def question_in(folder: str, environ: Mapping[str, str], **asked: object) -> Question:
    """`skaffold dev` in a folder; `asked` changes the question."""
    named: dict[str, object] = {"dir": folder, "command": "dev", "file": "skaffold.yaml", "env": environ}
    return Question(**{**named, **asked})  # type: ignore[arg-type]  # the fields' own types are the caller's to keep
