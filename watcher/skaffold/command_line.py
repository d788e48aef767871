"""Parses Skaffold's command line and SKAFFOLD_ variables, and builds the command that portside starts instead.

A flag that is not in the tables takes the next word as its value unless that begins with a dash: right for every flag
that matters (`skaffold options`, `skaffold dev --help`). What Skaffold checks itself is not checked here. The command
line of a wrapper (make, npm, a script) is not changed; its Skaffold gets its settings from the environment.
"""

from __future__ import annotations

import csv
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import partial

from msgspec import Struct

from forwarders.spec import port_number
from forwarders.system.processes import find_program
from watcher.errors import UsageError, did_you_mean
from watcher.skaffold import modes

SHORT = {"f": "filename", "m": "module", "p": "profile", "n": "namespace"}
_PROFILES = ("profile-auto-activation", "propagate-profiles")
# These always take a value: the next word, even if it begins with a dash (`-p -name` turns a profile off).
_VALUED = {*SHORT.values(), "kube-context", "kubeconfig", "rpc-http-port"}
# These never take the next word: pflag's NoOptDefVal (cmd/skaffold/app/cmd/flags.go), and booleans of every command.
_BARE = {
    "port-forward",
    "status-check",
    "force-colors",
    "interactive",
    "timestamps",
    "update-check",
    "assume-yes",
    *_PROFILES,
    "help",
    "h",
    "q",
}
# Subcommands that serve the event API, and those of them that forward ports (cmd/skaffold/app/cmd/flags.go, DefinedOn).
_SERVING = {"dev", "build", "run", "debug", "deploy", "test", "verify", "apply", "exec"}
_FORWARDING = {"dev", "run", "deploy", "debug", "verify", "exec"}
_DEFAULT_FILE = "skaffold.yaml"
_DEPLOYING = {"dev", "debug", "run", "deploy"}

# As it is installed, and as it is downloaded: skaffold-linux-amd64, skaffold-v2.16.1.
_BINARY = re.compile(r"skaffold([-_]?v?\d[\w.+-]*|-(linux|darwin|windows)-\w+)?(\.exe)?", re.IGNORECASE)


class Flag(Struct, frozen=True):
    """One flag of the command line. `words`: the range of its words. `value`: None for a bare flag."""

    name: str
    value: str | None
    words: range


class CommandLine(Struct, frozen=True):
    """Skaffold's parsed words. `command_at`: index of the subcommand's word."""

    words: tuple[str, ...]
    command_at: int
    flags: tuple[Flag, ...]

    @property
    def command(self) -> str:
        return self.words[self.command_at]

    def values(self, name: str) -> list[str]:
        """Every value given for `name`, in order; a bare flag counts as "true" (NoOptDefVal)."""
        return ["true" if flag.value is None else flag.value for flag in self.flags if flag.name == name]


def parse_words(words: Sequence[str]) -> CommandLine | None:
    """Parses words of which the first is the binary; None if there is no subcommand.

    Flags may come before and after the subcommand, which is the first word that is neither flag nor value (cobra).
    Raises UsageError for a flag without its value.
    """
    flags: list[Flag] = []
    command_at = 0
    at = 1
    while at < len(words) and words[at] != "--":
        if not words[at].startswith("-") or words[at] == "-":
            command_at = command_at or at
            at += 1
            continue
        flag = _long(words, at) if words[at].startswith("--") else _short(words, at)
        flags.append(flag)
        at = flag.words.stop
    return CommandLine(tuple(words), command_at, tuple(flags)) if command_at else None


def _long(words: Sequence[str], at: int) -> Flag:
    name, equals, value = words[at][2:].partition("=")
    return Flag(name, value, range(at, at + 1)) if equals else _with_next(name, words, at)


def _short(words: Sequence[str], at: int) -> Flag:
    """Parses a short flag: `-nfoo`, `-n=foo`, `-n foo`; of several behind one dash (`-qn foo`) the last one matters."""
    letters = words[at][1:]
    while len(letters) > 1 and letters[0] in _BARE:
        letters = letters[1:]
    name = SHORT.get(letters[0], letters[0])
    if len(letters) > 1:
        return Flag(name, letters[1:].removeprefix("="), range(at, at + 1))
    return _with_next(name, words, at)


def _with_next(name: str, words: Sequence[str], at: int) -> Flag:
    following = words[at + 1] if at + 1 < len(words) else None
    if name in _VALUED and following is None:
        raise UsageError(f"{words[0]}: the flag {words[at]} needs a value")
    takes_next = (
        name in _VALUED
        or (name not in _BARE and following is not None and not following.startswith("-"))
        # Skaffold itself reads `--port-forward user` as a bare flag and an unknown command.
        or (name == "port-forward" and following is not None and modes.are_modes(following))
    )
    return Flag(name, following, range(at, at + 2)) if takes_next else Flag(name, None, range(at, at + 1))


class SkaffoldCommand(Struct, frozen=True, kw_only=True):
    """The meaning of a Skaffold command line. Absent strings are "", an absent port or mode is None.

    `binary`: the Skaffold that reads the project. `words`: the whole command. `line`: None for a wrapper.
    `reads_as`: the command line that decides how the project is read.
    `kubeconfig`: one file, from the flag or SKAFFOLD_KUBECONFIG; the kubeconfig loader reads KUBECONFIG, a list.
    `port_forward`: in Skaffold's syntax, for modes.parse_modes; "true" for the bare flag.
    `profile_flags`: --profile-auto-activation and --propagate-profiles, as given.
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


def read_command(argv: Sequence[str], environ: Mapping[str, str]) -> SkaffoldCommand:
    """Parses `argv` (the words after `--`, the binary first) in `environ`, an effective_environment.

    A flag wins over its variable, except that lists (-p, -m) are appended to the variable's, as pflag does. Raises
    UsageError: nothing to start, a subcommand without an event API, a flag without value, an invalid port.
    """
    if not argv:
        raise UsageError("nothing to start; write: portside run -- skaffold dev")
    path = environ.get("PATH")
    wrapper = not is_skaffold(argv[0], path)
    line = _wrapped_line(argv, path) if wrapper else _line(argv)
    given = partial(_given, line, environ)
    return SkaffoldCommand(
        binary=line.words[0],
        command=line.command,
        line=None if wrapper else line,
        reads_as=shlex.join(line.words),
        words=tuple(argv),
        filename=given("filename") or _DEFAULT_FILE,
        profiles=_several(line, environ, "profile"),
        modules=_several(line, environ, "module"),
        namespace=given("namespace") or environ.get("SKAFFOLD_DEPLOY_NAMESPACE", ""),
        kube_context=given("kube-context") or "",
        kubeconfig=given("kubeconfig") or "",
        rpc_http_port=_port(line, environ),
        port_forward=given("port-forward"),
        profile_flags=tuple(f"--{name}={value}" for name in _PROFILES if (value := given(name))),
    )


def is_skaffold(program: str, path: str | None) -> bool:
    """Whether `program` is Skaffold and not a wrapper (make, npm), by its name or by the file that a link points to.

    `path`: where bare names are looked up, as in PATH.
    """
    if _has_binary_name(program):
        return True
    found = find_program(program, path)
    return found is not None and _has_binary_name(os.path.realpath(found))


def _has_binary_name(program: str) -> bool:
    return _BINARY.fullmatch(os.path.basename(program)) is not None


def rewritten(command: SkaffoldCommand, rpc_http_port: int) -> list[str]:
    """The words to start: --port-forward=off instead of the given ones, and `rpc_http_port` if none is given."""
    line = command.line
    if line is None:
        return list(command.words)
    dropped = {at for flag in line.flags if flag.name == "port-forward" for at in flag.words}
    takes_next = {flag.words.stop for flag in line.flags if flag.value is None and flag.name not in _BARE}
    off = ["--port-forward=off"] if line.command in _FORWARDING else []
    port = [f"--rpc-http-port={rpc_http_port}"] if command.rpc_http_port is None else []
    words: list[str] = []
    for at, word in enumerate(line.words):
        if at not in dropped:
            words.append(word)
        elif at in takes_next:
            words += off  # or the word after it would become the value of the flag before it
        if at == line.command_at:
            words += [*off, *port]
    return words


def child_environment(command: SkaffoldCommand, rpc_http_port: int, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of Skaffold, or of its wrapper: there it holds what `rewritten` puts into Skaffold's words."""
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
    """The Skaffold command line among a wrapper's words (`env X=1 skaffold debug -p p`); if there is none, `dev`."""
    for at, word in enumerate(argv):
        line = parse_words(argv[at:]) if is_skaffold(word, path) else None
        if line is not None and line.command in _DEPLOYING:
            return line
    return CommandLine(("skaffold", "dev"), 1, ())


def _variable(name: str) -> str:
    """The flag's environment variable (cmd.go, FlagToEnvVarName)."""
    return "SKAFFOLD_" + name.upper().replace("-", "_")


def _given(line: CommandLine, environ: Mapping[str, str], name: str) -> str | None:
    """The last value of the flag, else its variable's; None if neither is set."""
    values = line.values(name)
    return values[-1] if values else environ.get(_variable(name))


def _several(line: CommandLine, environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    values = [environ.get(_variable(name), ""), *line.values(name)]
    return tuple(item for value in values for row in csv.reader([value]) for item in row)


def _port(line: CommandLine, environ: Mapping[str, str]) -> int | None:
    """The RPC port of flag or variable; a variable that is no number is ignored. Raises UsageError for a bad flag."""
    port = port_number(_given(line, environ, "rpc-http-port") or "")
    if port is None and (values := line.values("rpc-http-port")):
        raise UsageError(f"--rpc-http-port {values[-1]}: not a port from 1 to 65535; leave it out and one is chosen")
    return port
