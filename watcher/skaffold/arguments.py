"""Reads what Skaffold's own command line and SKAFFOLD_ variables ask for, and makes the command to start instead.

What Skaffold checks itself is not checked here: a word that means nothing to portside is passed on as it is. A program
that is not Skaffold (make, npm, a script) keeps its words; the Skaffold that it starts is reached by its environment.
Its command line is read where it stands among the words (`env X=1 skaffold debug -p p`).
"""

from __future__ import annotations

import csv
import shlex
from collections.abc import Mapping, Sequence

from msgspec import Struct

from watcher.errors import UsageError, did_you_mean
from watcher.skaffold.flags import CommandLine, parse_words
from watcher.skaffold.program import is_skaffold

# Subcommands that serve the event API, and those of them that forward ports (cmd/skaffold/app/cmd/flags.go, DefinedOn).
_SERVING = {"dev", "build", "run", "debug", "deploy", "test", "verify", "apply", "exec"}
_FORWARDING = {"dev", "run", "deploy", "debug", "verify", "exec"}
_DEFAULT_FILE = "skaffold.yaml"
# What a wrapper is taken to start, unless its words say it.
_SKAFFOLD, _WRAPPED = "skaffold", "dev"
_DEPLOYING = {"dev", "debug", "run", "deploy"}
_PROFILES = ("profile-auto-activation", "propagate-profiles")


class SkaffoldCommand(Struct, frozen=True, kw_only=True):
    """A Skaffold command line, understood. Absent strings are "", an absent port or mode is None.

    `binary`: the Skaffold to ask. `words`: all there are. `line`: None for a wrapper.
    `reads_as`: the command line that decides how the project is read.
    `kubeconfig`: one file, from the flag or SKAFFOLD_KUBECONFIG; KUBECONFIG, a list, is left to the kubeconfig loader.
    `port_forward`: in Skaffold's syntax, as modes.parse takes it; "true" for the bare flag.
    `profile_flags`: the words that choose profiles otherwise than by name.
    """

    binary: str
    command: str
    line: CommandLine | None
    reads_as: str
    words: tuple[str, ...]
    filename: str
    profiles: tuple[str, ...]
    modules: tuple[str, ...]
    namespace: str
    kube_context: str
    kubeconfig: str
    rpc_http_port: int | None
    port_forward: str | None
    profile_flags: tuple[str, ...] = ()


def read(argv: Sequence[str], environ: Mapping[str, str]) -> SkaffoldCommand:
    """What `argv` (the words behind `--`, the binary first) means in `environ`.

    `environ` is the effective one (environment.effective_environment). A flag wins over its variable, except that
    lists (-p, -m) are appended to the variable's, as pflag does. Raises UsageError: nothing to start, a subcommand
    without an event API, a flag without value, a port that is none.
    """
    if not argv:
        raise UsageError("nothing to start; write: portside run -- skaffold dev")
    path = environ.get("PATH")
    wrapper = not is_skaffold(argv[0], path)
    line = _wrapped_line(argv, path) if wrapper else _line(argv)
    return SkaffoldCommand(
        binary=line.words[0],
        command=line.command,
        line=None if wrapper else line,
        reads_as=shlex.join(line.words),
        words=tuple(argv),
        filename=_one(line, environ, "filename") or _DEFAULT_FILE,
        profiles=_several(line, environ, "profile"),
        modules=_several(line, environ, "module"),
        namespace=_one(line, environ, "namespace") or environ.get("SKAFFOLD_DEPLOY_NAMESPACE", ""),
        kube_context=_one(line, environ, "kube-context"),
        kubeconfig=_one(line, environ, "kubeconfig"),
        rpc_http_port=_port(line, environ),
        port_forward=_port_forward(line, environ),
        profile_flags=tuple(f"--{name}={_one(line, environ, name)}" for name in _PROFILES if _one(line, environ, name)),
    )


def rewritten(command: SkaffoldCommand, rpc_http_port: int) -> list[str]:
    """The words to start: every --port-forward replaced by one `off`, and `rpc_http_port` where none is asked for."""
    line = command.line
    if line is None:
        return list(command.words)
    dropped = {at for flag in line.flags if flag.name == "port-forward" for at in flag.words}
    added = ["--port-forward=off"] if line.command in _FORWARDING else []
    if command.rpc_http_port is None:
        added.append(f"--rpc-http-port={rpc_http_port}")
    words: list[str] = []
    for at, word in enumerate(line.words):
        if at not in dropped:
            words.append(word)
        if at == line.command_at:
            words += added
    return words


def child_environment(command: SkaffoldCommand, rpc_http_port: int, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment to start it in. A wrapper's Skaffold has no other way to be told what `rewritten` says."""
    if command.line is not None:
        return dict(environ)
    return {**environ, _variable("port-forward"): "off", _variable("rpc-http-port"): str(rpc_http_port)}


def _line(argv: Sequence[str]) -> CommandLine:
    line = parse_words(argv)
    if line is None or line.command not in _SERVING:
        what = f"{argv[0]} {line.command}" if line else " ".join(argv[:1])
        near = did_you_mean(line.command, _SERVING) if line else ""
        raise UsageError(f"portside cannot run beside `{what}`: give it skaffold with dev, debug, run or deploy{near}")
    return line


def _wrapped_line(argv: Sequence[str], path: str | None) -> CommandLine:
    """The command line of the Skaffold that a wrapper starts, as far as it stands among its words."""
    for at, word in enumerate(argv):
        line = parse_words(argv[at:]) if is_skaffold(word, path) else None
        if line is not None and line.command in _DEPLOYING:
            return line
    return CommandLine((_SKAFFOLD, _WRAPPED), 1, ())


def _variable(name: str) -> str:
    """cmd.go, FlagToEnvVarName."""
    return "SKAFFOLD_" + name.upper().replace("-", "_")


def _one(line: CommandLine, environ: Mapping[str, str], name: str) -> str:
    values = line.values(name)
    return values[-1] if values else environ.get(_variable(name), "")


def _several(line: CommandLine, environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    values = [environ.get(_variable(name), ""), *line.values(name)]
    return tuple(item for value in values for row in csv.reader([value]) for item in row)


def _port_forward(line: CommandLine, environ: Mapping[str, str]) -> str | None:
    values = line.values("port-forward")
    return values[-1] if values else environ.get(_variable("port-forward"))


def _port(line: CommandLine, environ: Mapping[str, str]) -> int | None:
    """Skaffold ignores a variable that is no number; a flag that is none, or 0, cannot be attached to."""
    values = line.values("rpc-http-port")
    if not values:
        return _as_port(environ.get(_variable("rpc-http-port"), ""))
    port = _as_port(values[-1])
    if port is None:
        raise UsageError(f"--rpc-http-port {values[-1]}: not a port from 1 to 65535; leave it out and one is chosen")
    return port


def _as_port(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536 else None
