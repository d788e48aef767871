"""Checks the project and this machine: configuration, ports, Docker, Skaffold, IPv6, open files, other portsides.

It binds no port of a forward and never reads Skaffold's event stream: a reader that leaves at the wrong moment stops
Skaffold (`watcher/skaffold/stream.py`).
"""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import httpx
import msgspec
import trio

from forwarders.system import files, tcp
from forwarders.system.processes import PortOwner, find_program, port_owners
from watcher.board import runtime_files
from watcher.config.diagnose import quiet_environment
from watcher.config.entries import Entry, Project
from watcher.config.portside_yaml import FILE
from watcher.config.skaffold_yaml import LoadedProject, load_all
from watcher.docker.containers import client_of, engine_version
from watcher.docker.daemon import daemon_of
from watcher.doctor import Finding, NotCheckedError, Prerequisite, error, note, ok, warning
from watcher.errors import DaemonAddressError, DockerError, UsageError
from watcher.skaffold.http_request import parse_api_address
from watcher.user_files import home_folder

# Deadline in seconds: Skaffold reads local files in 0.2 s, but it may have to clone remote modules.
READING = 30.0
TESTED = "2.16"
STATE = "/v2/state"
# A connection needs a descriptor, and every fifth one a session's. The default --hold queue fits as well.
FILES = 4096


class ProjectFiles:
    """The project's configuration, read once for all checks. `project` is None without a skaffold.yaml."""

    def __init__(self, project: Project | None, environ: Mapping[str, str]) -> None:
        self._project = project
        self._environ = environ
        self.loaded = Prerequisite(self._load, "a configuration that can be read", READING)

    async def _load(self) -> LoadedProject:
        return await load_all(self._project, self._environ)

    async def docker(self) -> bool:
        """Whether the project deploys with Docker alone; False if it cannot be read."""
        try:
            return (await self.loaded.given()).configuration.docker
        except NotCheckedError:
            return False

    async def configuration_check(self) -> Iterable[Finding]:
        try:
            loaded = await self.loaded()
        except UsageError as problem:
            return [error(str(problem), "correct the file")]
        found = [path.name for path in loaded.sources if path.exists()]
        if not found:
            return [note(f"no skaffold.yaml and no {FILE} here; `watch --cluster` and `forward` need none")]
        entries = len(loaded.configuration.entries) + len(loaded.settings.entries)
        findings = [ok(f"{', '.join(found)}: {entries} forwards asked for")]
        for bad in loaded.configuration.bad:
            findings.append(warning(f"{bad.origin}: {bad.resource_type}/{bad.name}: {bad.reason}", "correct the entry"))
        return findings

    async def ports_check(self) -> Iterable[Finding]:
        """Looks up who listens on the local ports that the project names."""
        loaded = await self.loaded.given()
        entries = (*loaded.configuration.entries, *loaded.settings.entries)
        wanted = {entry.local_port.number: entry for entry in reversed(entries) if entry.local_port.number}
        held = await trio.to_thread.run_sync(port_owners, abandon_on_cancel=True)
        if held is None:
            return [note("this user may not look up who holds which port", "run doctor as root to check the ports")]
        ours = {running.pid for running in runtime_files.running_instances()}
        findings = [_taken(entry, held[port], ours) for port, entry in sorted(wanted.items()) if port in held]
        return findings or [ok(f"{len(wanted)} local ports are asked for, none is taken")]


def _taken(entry: Entry, holder: PortOwner, ours: set[int]) -> Finding:
    port = f"port {entry.local_port.number}, which {entry.origin} asks for"
    if holder.pid in ours:
        return ok(f"{port}, is held by the portside that runs here (pid {holder.pid})")
    return warning(f"{port}, is taken by {holder}; portside would use the next free one", "free it, or ask for another")


async def engine_check(project: ProjectFiles, environ: Mapping[str, str]) -> Iterable[Finding]:
    """Checks that the Docker engine answers, if the project deploys with Docker alone."""
    if not await project.docker():
        return []
    try:
        daemon = daemon_of(environ, home_folder())
    except DaemonAddressError as problem:
        return [error(str(problem), "correct DOCKER_HOST, or choose another context: docker context use")]
    where = daemon.socket or daemon.url
    try:
        async with client_of(daemon) as client:
            version = (await engine_version(client)).version
    except (httpx.HTTPError, DockerError) as problem:
        said = f"the engine at {where} does not answer: {str(problem) or type(problem).__name__}"
        return [error(said, "start Docker; may this user use its socket?")]
    return [ok(f"the engine at {where} answers, version {version}")]


async def binary_check(environ: Mapping[str, str]) -> Iterable[Finding]:
    """Finds the skaffold binary and asks for its version."""
    binary = find_program("skaffold", environ.get("PATH"))
    if binary is None:
        remedy = "install it for `portside run`, and for patches, remote modules and old schemas"
        return [note("skaffold is not on PATH; portside reads skaffold.yaml itself, with fewer features", remedy)]
    try:
        done = await trio.run_process(
            [binary, "version"],
            capture_stdout=True,
            stderr=subprocess.DEVNULL,
            env=quiet_environment(environ),
            check=False,
        )
    except OSError as problem:
        return [error(f"{binary} cannot be started: {problem.strerror}", "is it an executable for this machine?")]
    version = done.stdout.decode(errors="replace").strip()
    number = re.match(r"v(\d+)\.", version)
    if done.returncode or number is None:
        said = version or f"exit code {done.returncode}"
        return [warning(f"{binary} version says {said}, which is no version", f"portside is tested with {TESTED}")]
    if int(number[1]) < 2:
        upgrade = f"portside is tested with {TESTED}: upgrade"
        return [warning(f"{binary}, {version}: its events may be different", upgrade)]
    return [ok(f"{binary}, {version}; tested with {TESTED}")]


async def api_check(url: str) -> Iterable[Finding]:
    """Asks a running Skaffold for its state. `url`: as --skaffold takes it, or "".

    It reads the whole answer, because Skaffold may end when a client closes early.
    """
    if not url:
        return [note("no Skaffold given; `watch` needs --skaffold URL or SKAFFOLD_RPC_HTTP_PORT, `run` needs neither")]
    address = parse_api_address(url).url
    start = "start it: skaffold dev --port-forward=off --rpc-http-port PORT"
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=None, headers={"Connection": "close"}) as client:  # noqa: S113 - the check's deadline
            answer = await client.get(f"{address}{STATE}")
    except httpx.HTTPError as problem:
        return [warning(f"no Skaffold answers at {address} ({type(problem).__name__}); `watch` waits for one", start)]
    if answer.status_code != httpx.codes.OK or not _is_state(answer.content):
        return [error(f"the program at {address} is not Skaffold: HTTP {answer.status_code}", start)]
    return [ok(f"Skaffold answers at {address}")]


def _is_state(body: bytes) -> bool:
    try:
        return "buildState" in msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return False


async def ipv6_check() -> Iterable[Finding]:
    """Checks whether ::1 can be bound, with a free port and for a moment."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError as problem:
        found = f"::1 cannot be bound ({problem.strerror}): forwards listen on 127.0.0.1 only"
        return [note(found, "use 127.0.0.1 in URLs, not localhost")]
    return [ok("::1 can be bound: forwards on 127.0.0.1 listen there too")]


async def files_check() -> Iterable[Finding]:
    """Raises the soft limit of open files, as every command does, and reports the result."""
    before = files.descriptor_limit()
    most = files.raise_descriptor_limit()
    if before is None or most is None:
        return [ok("this platform has no limit of open files for sockets")]
    said = f"{most} of them, for a soft limit of {before} that portside raises; {FILES} are recommended"
    if most >= FILES:
        return [ok(said)]
    return [warning(said, "raise the hard limit: limits.conf, or systemd's LimitNOFILE")]


async def surroundings_check(environ: Mapping[str, str], root: Path = Path("/")) -> Iterable[Finding]:
    """Reports WSL, containers, ssh and the platform's limits. `root`: the root of the file system."""
    container = environ.get("KUBERNETES_SERVICE_HOST") or any(
        (root / mark).exists() for mark in (".dockerenv", "run/.containerenv")
    )
    findings = []
    if environ.get("WSL_DISTRO_NAME") or "microsoft" in _text(root / "proc/sys/kernel/osrelease").lower():
        found = "WSL: Windows reaches forwards by localhost, if localhostForwarding is on (.wslconfig)"
        findings.append(note(found, "otherwise --address 0.0.0.0, and WSL's own address"))
    if environ.get("CODESPACES") or environ.get("REMOTE_CONTAINERS"):
        found = "a development container: its editor must forward the ports to your machine"
        findings.append(note(found, "see examples/devcontainer"))
    elif container:
        found = "a container: its 127.0.0.1 cannot be reached from outside"
        findings.append(note(found, "--address 0.0.0.0 and published ports, or run portside outside"))
    if environ.get("SSH_CONNECTION"):
        found = "a session over ssh: forwards listen on this machine, not on yours"
        findings.append(note(found, "ssh -L PORT:127.0.0.1:PORT from yours"))
    if not tcp.HALF_CLOSE_IS_KNOWN:
        found = (
            f"{files.PLATFORM} cannot distinguish a client that only stopped sending from one that left; its reply may "
            "be cut off after a second"
        )
        findings.append(note(found, "keep such connections open for writing until the reply is there"))
    return findings or [ok(f"{files.PLATFORM}; neither WSL nor a container")]


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


async def portsides_check() -> Iterable[Finding]:
    """Lists the portsides that run here, and reports a runtime directory that cannot be used."""
    folder, problem = runtime_files.directory(), runtime_files.problem()
    findings = [
        ok(f"{one.command} (pid {one.pid}) runs, status at {one.url}, started in {one.folder}")
        for one in runtime_files.running_instances()
    ]
    if problem:
        found = f"{folder}: {problem}; `status`, `wait` and `explain` find no portside"
        findings.append(warning(found, "set XDG_RUNTIME_DIR to a folder of your own"))
    return findings or [ok(f"no other portside runs here; they would be listed in {folder}")]
