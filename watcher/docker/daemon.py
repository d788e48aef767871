"""Finds the Docker engine as the docker command does: DOCKER_HOST, else the context, else the default socket.

Engines behind TLS or ssh are rejected: they are on other machines, and so are the ports that they publish.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field

from forwarders.spec import authority
from forwarders.system.tcp import UNIX_SOCKETS
from watcher import user_files
from watcher.errors import DaemonAddressError

_Read = TypeVar("_Read", bound=Struct)

DEFAULT_SOCKET = "/var/run/docker.sock"
_NO_TLS = "portside does not support it, because such an engine publishes its ports on another machine"


class Daemon(Struct, frozen=True):
    """One engine: the path of its socket, or if that is "" the URL of its plain HTTP port."""

    socket: str = ""
    url: str = "http://docker"


class _Config(Struct, frozen=True):
    current_context: str = field(default="", name="currentContext")


class _ContextEndpoint(Struct, frozen=True):
    host: str = field(default="", name="Host")


class _ContextMetadata(Struct, frozen=True):
    """contexts/meta/SHA256/meta.json of the docker command line (cli/context/store). TLS files are in contexts/tls."""

    endpoints: dict[str, _ContextEndpoint] = field(default_factory=dict, name="Endpoints")


def daemon_of(environ: Mapping[str, str], home: Path) -> Daemon:
    """The engine to use. Raises DaemonAddressError, which names the variable or the context."""
    if host := environ.get("DOCKER_HOST"):
        # Any value means TLS, also "0" (moby client/envvars.go). For a socket it has no meaning.
        if environ.get("DOCKER_TLS_VERIFY") and not host.startswith("unix:"):
            raise DaemonAddressError(f"DOCKER_TLS_VERIFY: the engine at {host} uses TLS: {_NO_TLS}")
        return parse_host(host, "DOCKER_HOST")
    folder = Path(environ.get("DOCKER_CONFIG") or home / ".docker")
    context = environ.get("DOCKER_CONTEXT") or _read(folder / "config.json", _Config()).current_context
    if context in {"", "default"}:
        return _by_socket(DEFAULT_SOCKET, "the Docker engine of this machine")
    digest = hashlib.sha256(context.encode()).hexdigest()
    metadata = _read(folder / "contexts" / "meta" / digest / "meta.json", _ContextMetadata())
    endpoint = metadata.endpoints.get("docker", _ContextEndpoint())
    if not endpoint.host:
        raise DaemonAddressError(f"Docker context {context!r}: it names no engine; see `docker context ls`")
    where = f"Docker context {context!r}"
    tls = folder / "contexts" / "tls" / digest / "docker"
    if tls.is_dir() and not endpoint.host.startswith("unix:"):
        raise DaemonAddressError(f"{where}: the engine at {endpoint.host} uses TLS: {_NO_TLS}")
    return parse_host(endpoint.host, where)


def parse_host(host: str, where: str) -> Daemon:
    """Parse `unix://PATH` or `tcp://HOST:PORT`. Raises DaemonAddressError."""
    scheme, separator, rest = host.partition("://")
    if scheme == "unix" and rest.startswith("/"):
        return _by_socket(rest, where)
    try:
        parts = urlsplit(host)
        if separator and scheme in {"tcp", "http"} and parts.hostname and parts.port:
            return Daemon(url=f"http://{authority(parts.hostname, parts.port)}")
    except ValueError:
        pass
    raise DaemonAddressError(f"{where}: {host!r}: only unix:///PATH and tcp://HOST:PORT are supported")


def _by_socket(path: str, where: str) -> Daemon:
    if not UNIX_SOCKETS:
        remedy = "have Docker listen on a TCP port of this machine, and set DOCKER_HOST=tcp://127.0.0.1:PORT"
        raise DaemonAddressError(f"{where}: on Windows portside supports neither sockets nor named pipes; {remedy}")
    return Daemon(path)


def _read(path: Path, default: _Read) -> _Read:
    """The decoded file, or `default` if it cannot be read: the docker command reports that."""
    try:
        return msgspec.json.decode(user_files.read_bytes(path, user_files.PROJECT_FILE), type=type(default))
    except (OSError, msgspec.DecodeError):
        return default
