"""Makes text from clusters, files and servers safe to show: it cannot steer a terminal, hide words or reorder them.

What is harmful is decided by Unicode category, so that no single character can be forgotten.
"""

from __future__ import annotations

import unicodedata

import msgspec

REPLACEMENT = "�"
# Controls, formats (zero widths, byte order marks, joiners, marks and overrides of direction, tags), halves of pairs,
# and separators of lines and paragraphs.
_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Letters and marks that are shown as nothing at all.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")


class _Shown(dict[int, str]):
    """For str.translate: what is shown instead of a character, worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        shown = self[code] = self.show(chr(code))
        return shown

    def show(self, character: str) -> str:
        """What a line of text shows."""
        if _is_harmful(character):
            return REPLACEMENT
        return " " if _is_space(character) else character


class _Escaped(_Shown):
    def show(self, character: str) -> str:
        """What a line of JSON has inside its strings; its encoder has escaped the controls below 32."""
        if character == " " or not (_is_harmful(character) or _is_space(character)):
            return character
        units = character.encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{int.from_bytes(units[at : at + 2]):04x}" for at in range(0, len(units), 2))


def _is_harmful(character: str) -> bool:
    return unicodedata.category(character) in _HARMFUL or character in _INVISIBLE


def _is_space(character: str) -> bool:
    return unicodedata.category(character) == "Zs"


_SHOWN, _ESCAPED = _Shown(), _Escaped()


def printable(text: str) -> str:
    """`text` with harmful characters replaced, and every kind of space shown as one."""
    return text if text.isascii() and text.isprintable() else text.translate(_SHOWN)


def json_line(value: object) -> str:
    """`value` as one line of JSON, with harmful characters escaped."""
    line = msgspec.json.encode(value).decode()
    return line if line.isascii() and line.isprintable() else line.translate(_ESCAPED)
