"""Owns reading what stands under examples/: JSON with comments, as VS Code takes it, to plain values."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"


def json_with_comments(path: Path) -> Any:
    """Comments are lines of their own there."""
    return json.loads(re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.MULTILINE))
