"""Owns pflag's and cobra's syntax as far as Skaffold's command line needs it: which words are flags, which values.

Refuses to know every flag of every Skaffold: a flag that is not in the tables takes the next word as its value unless
that begins with a dash, which is right for all of them where it matters (`skaffold options`, `skaffold dev --help`).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from watcher.errors import UsageError
from watcher.skaffold import modes

SHORT = {"f": "filename", "m": "module", "p": "profile", "n": "namespace"}
# Always take a value: the next word even where it begins with a dash (`-p -name` turns a profile off).
_VALUED = {*SHORT.values(), "kube-context", "kubeconfig", "rpc-http-port"}
# Never take the next word: pflag's NoOptDefVal (cmd/skaffold/app/cmd/flags.go), and booleans known to every command.
_BARE = {
    "port-forward",
    "status-check",
    "force-colors",
    "interactive",
    "timestamps",
    "update-check",
    "assume-yes",
    "profile-auto-activation",
    "propagate-profiles",
    "help",
    "h",
    "q",
}


class Flag(Struct, frozen=True):
    """One flag of the command line. `words`: the range of words it spans. `value`: None for a bare flag."""

    name: str
    value: str | None
    words: range


class CommandLine(Struct, frozen=True):
    """Skaffold's words, understood. `command_at`: index of the subcommand's word."""

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
    """`words[0]` is the binary. None where no subcommand is found. Raises UsageError for a flag without its value.

    Flags may stand before and after the subcommand, which is the first word that is neither flag nor value (cobra).
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
    """`-nfoo`, `-n=foo`, `-n foo`; several bare ones may share a dash (`-qn foo`): the last one is what matters."""
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
        # Skaffold itself takes the flag for a bare one, and the modes for a command that it does not know.
        or (name == "port-forward" and following is not None and modes.are_modes(following))
    )
    return Flag(name, following, range(at, at + 2)) if takes_next else Flag(name, None, range(at, at + 1))
