"""Skaffold as portside sees it: its event stream, its settings, its project and its process."""

from typing import Literal

# What may change of Skaffold's state; here, because records name it and a start without Skaffold imports no more.
SkaffoldChange = Literal["attached", "lost", "phase", "run"]
