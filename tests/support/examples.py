"""Reads files in examples/: JSON with comments, as VS Code accepts it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"


def json_with_comments(path: Path) -> Any:
    """The parsed file. Comments there are always whole lines."""
    return json.loads(re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.MULTILINE))
