"""Owns Skaffold's annotation that says which of a pod's ports are for debuggers. Pure; refuses to trust its text.

`{container: {artifact, runtime, workingDir, ports: {name: number}}}` (skaffold pkg/skaffold/debug/types).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

ANNOTATION = "debug.cloud.google.com/config"


class _Container(Struct, frozen=True):
    ports: dict[str, int] | None = None


_decoder = msgspec.json.Decoder(dict[str, _Container])


def debug_ports(annotations: Mapping[str, str] | None) -> Mapping[str, frozenset[int]]:
    """The debug ports by container; none without the annotation. Raises ValueError where it cannot be read."""
    text = (annotations or {}).get(ANNOTATION)
    if text is None:
        return {}
    try:
        found = _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"its annotation {ANNOTATION} cannot be read: {error}") from None
    return {name: frozenset((container.ports or {}).values()) for name, container in found.items()}
