"""Owns the few fields we read of the Docker engine's API (v1.24 and later), decoded straight from its JSON.

Refuses policy. Names are snake_case here and as the API has them (PascalCase) there.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct, field

from watcher.errors import DockerError


class PublishedPort(Struct, frozen=True, rename="pascal"):
    """A container's port; `public_port` is 0 where Docker does not publish it."""

    private_port: int
    public_port: int = 0
    ip: str = field(default="", name="IP")
    type: str = "tcp"


class Network(Struct, frozen=True):
    address: str = field(default="", name="IPAddress")


class NetworkSettings(Struct, frozen=True, rename="pascal"):
    networks: dict[str, Network | None] | None = None


class DockerContainer(Struct, frozen=True, rename="pascal"):
    """One line of GET /containers/json. `created`: seconds since 1970."""

    id: str
    names: tuple[str, ...] = ()
    image: str = ""
    state: str = ""
    created: int = 0
    ports: tuple[PublishedPort, ...] | None = None
    labels: dict[str, str] | None = None
    network_settings: NetworkSettings | None = None

    @property
    def name(self) -> str:
        """The API puts a slash in front; a linked container has further names with two."""
        return next((name[1:] for name in self.names if name.count("/") == 1), self.id[:12])

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def address(self) -> str:
        """In the first of its networks, "" while it has none."""
        networks = (self.network_settings or NetworkSettings()).networks or {}
        return next((network.address for _, network in sorted(networks.items()) if network and network.address), "")


class Containers(Struct, frozen=True):
    """`problem`: why nothing is, or only what was. `reachable`: a container's own address leads to it."""

    synced: bool = False
    problem: str = ""
    reachable: bool = True
    containers: tuple[DockerContainer, ...] = ()


class _Platform(Struct, frozen=True, rename="pascal"):
    name: str = ""


class EngineVersion(Struct, frozen=True, rename="pascal"):
    platform: _Platform = _Platform()


_Decoded = TypeVar("_Decoded")
_containers, _version = msgspec.json.Decoder(tuple[DockerContainer, ...]), msgspec.json.Decoder(EngineVersion)


def decode_containers(data: bytes) -> tuple[DockerContainer, ...]:
    """The containers, sorted by id. Raises DockerError."""
    containers = _decoded(_containers, data)
    return tuple(sorted(containers, key=lambda container: container.id))


def decode_version(data: bytes) -> EngineVersion:
    """Raises DockerError."""
    return _decoded(_version, data)


def _decoded(decoder: msgspec.json.Decoder[_Decoded], data: bytes) -> _Decoded:
    try:
        return decoder.decode(data)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors; deep nesting is a RecursionError
        raise DockerError(f"its answer cannot be read: {error}") from None
