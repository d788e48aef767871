"""The README's sentence on what portside is tested with, word for word from the beds' table."""

from __future__ import annotations

from pathlib import Path

from fixtures.cluster.versions import BEDS, BedVersions, RuntimeKind

README = Path(__file__).resolve().parents[2] / "README.md"


def _cluster(bed: BedVersions) -> str:
    if bed.runtime is RuntimeKind.DOCKERSHIM:
        return f"a kubelet {bed.kubelet} (dockershim)"
    return f"Kubernetes {bed.kubernetes} (containerd {bed.containerd.split()[0]})"


def test_the_readme_names_what_ci_runs() -> None:
    """Each bed with its runtime, the one Skaffold of all, and Windows' Python, which tests/windows runs."""
    *first, last = map(_cluster, BEDS)
    (skaffold,) = {bed.skaffold for bed in BEDS}
    sentence = (
        f"on Linux with {', '.join(first)} and {last}, each with Skaffold {skaffold}, and with CPython for Windows"
    )
    assert sentence in " ".join(README.read_text(encoding="utf-8").split())
