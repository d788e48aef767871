"""What the Docker engine answers: few fields, whatever else there is; and where it is looked for."""

from __future__ import annotations

import contextlib
import hashlib
import json
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.docker.containers import EngineVersion, PublishedPort, decode_answer, decode_containers
from watcher.docker.daemon import Daemon, daemon_of
from watcher.errors import DaemonAddressError, DockerError

LISTED = {
    "Id": "f6a245dbe956",
    "Names": ["/web/alias", "/myapp"],
    "Image": "myapp:1",
    "ImageID": "sha256:12",
    "State": "running",
    "Created": 1_732_460_000,
    "Ports": [
        {"IP": "127.0.0.1", "PrivatePort": 8080, "PublicPort": 9701, "Type": "tcp"},
        {"PrivatePort": 81, "Type": "tcp"},
    ],
    "Labels": {"skaffold.dev/run-id": "run-1"},
    "NetworkSettings": {"Networks": {"b": {"IPAddress": "172.18.0.2"}, "a": {"IPAddress": ""}, "c": None}},
}


def test_a_line_of_the_list() -> None:
    """The container's own name, not a link's; the first address that there is; a port of 0 is not published."""
    [container] = decode_containers(json.dumps([LISTED]).encode())
    assert (container.name, container.address, container.running) == ("myapp", "172.18.0.2", True)
    assert container.ports == (PublishedPort(8080, 9701, "127.0.0.1"), PublishedPort(81))
    assert container.labels == {"skaffold.dev/run-id": "run-1"}


def test_what_is_null_is_nothing() -> None:
    """As the engine writes it for a container that is being made."""
    [container] = decode_containers(
        b'[{"Id":"0123456789abcdef","Names":null,"Ports":null,"Labels":null,"NetworkSettings":null}]'
    )
    assert (container.name, container.address, container.running) == ("0123456789ab", "", False)


WHOLE = json.dumps([LISTED]).encode()


@given(st.binary(max_size=60) | st.integers(0, len(WHOLE)).map(lambda length: WHOLE[:length]))
def test_any_bytes_are_containers_or_one_error(data: bytes) -> None:
    """Never another error than DockerError."""
    for decode in (decode_containers, partial(decode_answer, kind=EngineVersion)):
        with contextlib.suppress(DockerError):
            decode(data)


def test_an_answer_that_is_nested_too_deeply() -> None:
    """It is one line, like any answer that cannot be read."""
    for decode in (decode_containers, partial(decode_answer, kind=EngineVersion)):
        with pytest.raises(DockerError, match="cannot be read"):
            decode(b"[" * 100_000)


def test_where_the_engine_is(tmp_path: Path) -> None:
    """DOCKER_HOST, then the context of DOCKER_CONTEXT or the configuration, then the usual socket."""
    assert daemon_of({}, tmp_path) == Daemon("/var/run/docker.sock")
    assert daemon_of({"DOCKER_HOST": "unix:///run/x.sock", "DOCKER_CONTEXT": "y"}, tmp_path) == Daemon("/run/x.sock")
    assert daemon_of({"DOCKER_HOST": "tcp://[::1]:2375"}, tmp_path) == Daemon(url="http://[::1]:2375")
    folder = tmp_path / ".docker" / "contexts" / "meta" / hashlib.sha256(b"colima").hexdigest()
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text('{"Name":"colima","Endpoints":{"docker":{"Host":"unix:///c.sock"}}}')
    assert daemon_of({"DOCKER_CONTEXT": "colima"}, tmp_path) == Daemon("/c.sock")
    (tmp_path / ".docker" / "config.json").write_text('{"currentContext":"colima","auths":{"x":{"auth":"secret"}}}')
    assert daemon_of({}, tmp_path) == Daemon("/c.sock")
    assert daemon_of({"DOCKER_CONTEXT": "default"}, tmp_path) == Daemon("/var/run/docker.sock")


@pytest.mark.parametrize(
    "host", ["ssh://me@there", "npipe:////./pipe/docker", "tcp://there", "unix://", "x", "tcp://[:1"]
)
def test_what_cannot_be_reached_is_refused_by_name(host: str, tmp_path: Path) -> None:
    """One line that says which variable."""
    with pytest.raises(DaemonAddressError, match=r"^DOCKER_HOST: "):
        daemon_of({"DOCKER_HOST": host}, tmp_path)


def test_a_context_that_is_not_there_is_named(tmp_path: Path) -> None:
    """As the docker command would."""
    with pytest.raises(DaemonAddressError, match="Docker context 'gone'"):
        daemon_of({"DOCKER_CONTEXT": "gone"}, tmp_path)


def test_tls_is_refused_by_name(tmp_path: Path) -> None:
    """Plain HTTP to such an engine would be tried for ever. A socket has none, whatever the variable says."""
    with pytest.raises(DaemonAddressError, match=r"^DOCKER_TLS_VERIFY: .*tcp://there:2376"):
        daemon_of({"DOCKER_HOST": "tcp://there:2376", "DOCKER_TLS_VERIFY": "1"}, tmp_path)
    assert daemon_of({"DOCKER_HOST": "tcp://there:2375", "DOCKER_TLS_VERIFY": ""}, tmp_path).url == "http://there:2375"
    assert daemon_of({"DOCKER_HOST": "unix:///x", "DOCKER_TLS_VERIFY": "1"}, tmp_path) == Daemon("/x")
    contexts, digest = tmp_path / ".docker" / "contexts", hashlib.sha256(b"far").hexdigest()
    (contexts / "meta" / digest).mkdir(parents=True)
    (contexts / "meta" / digest / "meta.json").write_text('{"Endpoints":{"docker":{"Host":"tcp://there:2376"}}}')
    assert daemon_of({"DOCKER_CONTEXT": "far"}, tmp_path).url == "http://there:2376"
    (contexts / "tls" / digest / "docker").mkdir(parents=True)
    with pytest.raises(DaemonAddressError, match=r"^Docker context 'far': .*tcp://there:2376"):
        daemon_of({"DOCKER_CONTEXT": "far"}, tmp_path)
