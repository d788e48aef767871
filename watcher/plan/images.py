"""Owns the answer to: is this container's image one that the run built? Pure.

The run's artifacts are names as skaffold.yaml has them; what is deployed has a tag or digest, and perhaps a
default-repo in front of the name as it is, or with everything but letters and digits replaced by "_" or "-"
(skaffold pkg/skaffold/image/util.go, SubstituteDefaultRepoIntoImage).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_MANGLED = re.compile(r"[^a-zA-Z0-9]")
_GOOGLES = re.compile(r"(^|\.)gcr\.io$|-docker\.pkg\.dev$")
# Of a reference: the digest, then the tag (a colon before the last slash belongs to a registry's port).
_DIGEST, _TAG = re.compile(r"@[^@/]*$"), re.compile(r":[^:/]*$")


def repository(image: str) -> str:
    """`image` without digest and tag."""
    return _TAG.sub("", _DIGEST.sub("", image))


def is_artifact(image: str, artifacts: Iterable[str]) -> bool:
    """Whether `image` is one of `artifacts`, behind whatever default-repo."""
    deployed = repository(image)
    return any(_is(deployed, repository(artifact)) for artifact in artifacts)


def _is(deployed: str, artifact: str) -> bool:
    spellings = {artifact, _MANGLED.sub("_", artifact), _MANGLED.sub("-", artifact)}
    behind = deployed in spellings or any(deployed.endswith(f"/{spelling}") for spelling in spellings)
    return behind or _is_merged(deployed, artifact)


def _is_merged(deployed: str, artifact: str) -> bool:
    """In Google's registries what name and default-repo begin with alike stands there once."""
    parts = artifact.split("/")
    if not _GOOGLES.search(parts[0]):
        return False
    return any(
        deployed.startswith("/".join(parts[:n]) + "/") and deployed.endswith("/" + "/".join(parts[n:]))
        for n in range(1, len(parts))
    )
