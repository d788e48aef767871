"""The README's sentence on tested versions agrees with the table of beds, word for word."""

from __future__ import annotations

from pathlib import Path

from fixtures.cluster.versions import BEDS, SKAFFOLDS, BedVersions, RuntimeKind

README = Path(__file__).resolve().parents[2] / "README.md"


def _cluster(bed: BedVersions) -> str:
    if bed.runtime is RuntimeKind.DOCKERSHIM:
        return f"a kubelet {bed.kubelet} (dockershim)"
    return f"Kubernetes {bed.kubernetes} (containerd {bed.containerd.split()[0]})"


def test_the_readme_names_what_ci_runs() -> None:
    """Each bed with its runtime, every Skaffold, and Windows' Python, which tests/windows runs."""
    *first, last = map(_cluster, BEDS)
    skaffolds = " and ".join(SKAFFOLDS)
    sentence = f"on Linux with {', '.join(first)} and {last}, with Skaffold {skaffolds}, and with CPython for Windows"
    assert sentence in " ".join(README.read_text(encoding="utf-8").split())
