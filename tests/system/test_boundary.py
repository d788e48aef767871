"""Only `forwarders.system` asks which platform it runs on. Ruff's banned-api has the plain names; this has the rest."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FORBIDDEN = {"sendmsg", "SO_REUSEADDR", "SO_EXCLUSIVEADDRUSE", "NamedTemporaryFile", "getuid", "killpg", "memfd_create"}
MODULES = {"resource", "termios", "fcntl", "winreg", "msvcrt", "pwd"}


def questions(source: str) -> Iterator[str]:
    """What in a module's text depends on the platform."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            yield from _names(node.attr, ast.unparse(node))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):  # getattr(signal, "SIGHUP")
            yield from _names(node.value, node.value)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            yield from (name for name in names if name in MODULES)


def _names(name: str, whole: str) -> Iterator[str]:
    is_signal = name.startswith("SIG") and name.isupper() and " " not in name
    if name in FORBIDDEN or is_signal or whole in {"sys.platform", "os.name", "os.kill"}:
        yield whole


def _modules() -> list[Path]:
    paths = [*(ROOT / "watcher").rglob("*.py"), *(ROOT / "forwarders").rglob("*.py")]
    return [path for path in paths if "system" not in path.relative_to(ROOT).parts]


def test_no_other_module_asks_the_platform() -> None:
    """Signals, descriptors, private files and the like have one home each."""
    found = {str(path.relative_to(ROOT)): [*questions(path.read_text(encoding="utf-8"))] for path in _modules()}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    [
        "signal.SIGHUP",
        'getattr(signal, "SIGHUP")',
        "sys.platform",
        "os.kill(1, 0)",
        "import termios",
        "sock.sendmsg([])",
    ],
)
def test_the_rule_finds_each_kind(source: str) -> None:
    """A rule that finds nothing would hold as well."""
    assert [*questions(source)]
