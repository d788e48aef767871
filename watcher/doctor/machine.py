"""Checks this machine: IPv6 on loopback, open files, where it runs, other portsides.

The limit of open files is lifted as any command lifts it, to see how far the system goes.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from forwarders.system import files, tcp
from watcher.board import runtime
from watcher.doctor.findings import Finding, note, ok, warning

# A connection takes a descriptor, and every fifth one a session's; what may be held on one forward fits in here.
FILES = 4096


async def ipv6_check() -> Iterable[Finding]:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError as problem:
        return [
            note(
                f"::1 cannot be bound ({problem.strerror}): forwards listen on 127.0.0.1 alone",
                "use 127.0.0.1 in URLs, not localhost",
            )
        ]
    return [ok("::1 can be bound: forwards on 127.0.0.1 listen there too")]


async def files_check() -> Iterable[Finding]:
    before = files.descriptor_limit()
    most = files.raise_descriptor_limit()
    if before is None or most is None:
        return [ok("no limit of open files that concerns sockets")]
    said = f"{most} of them, for a soft limit of {before} that portside lifts; {FILES} are recommended"
    if most >= FILES:
        return [ok(said)]
    return [warning(said, "have the hard limit raised: limits.conf, or systemd's LimitNOFILE")]


async def surroundings_check(environ: Mapping[str, str], root: Path = Path("/")) -> Iterable[Finding]:
    """`root`: where the files are looked for that tell."""
    findings = []
    if _is_wsl(environ, root):
        findings.append(
            note(
                "WSL: Windows reaches forwards by localhost, if localhostForwarding is on (.wslconfig)",
                "else --address 0.0.0.0, and WSL's own address",
            )
        )
    if environ.get("CODESPACES") or environ.get("REMOTE_CONTAINERS"):
        findings.append(
            note("a development container: its editor has to forward the ports on to you", "see examples/devcontainer")
        )
    elif _is_container(environ, root):
        findings.append(
            note(
                "a container: what listens on its 127.0.0.1 is not reached from outside",
                "--address 0.0.0.0 and published ports, or run portside outside",
            )
        )
    if environ.get("SSH_CONNECTION"):
        findings.append(
            note(
                "a session over ssh: forwards listen on this machine, not on yours",
                "ssh -L PORT:127.0.0.1:PORT from yours",
            )
        )
    if not tcp.HALF_CLOSE_IS_KNOWN:
        findings.append(
            note(
                f"{files.PLATFORM} does not tell a client that has only ended its sending from one that left; "
                "its answer may be cut off after a second",
                "keep such connections open for writing until the answer is there",
            )
        )
    return findings or [ok(f"{files.PLATFORM}; neither WSL nor a container")]


def _is_wsl(environ: Mapping[str, str], root: Path) -> bool:
    return bool(environ.get("WSL_DISTRO_NAME")) or "microsoft" in _text(root / "proc/sys/kernel/osrelease").lower()


def _is_container(environ: Mapping[str, str], root: Path) -> bool:
    marks = (root / ".dockerenv", root / "run/.containerenv")
    return bool(environ.get("KUBERNETES_SERVICE_HOST")) or any(mark.exists() for mark in marks)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


async def portsides_check() -> Iterable[Finding]:
    folder = runtime.directory()
    findings = [
        ok(f"{one.command} (pid {one.pid}) runs, status at {one.url}, started in {one.folder}")
        for one in runtime.running_instances()
    ]
    problem = runtime.problem()
    if problem:
        findings.append(
            warning(
                f"{folder}: {problem}; `status`, `wait` and `explain` find no portside",
                "set XDG_RUNTIME_DIR to a folder of your own",
            )
        )
    return findings or [ok(f"no other portside runs here; {folder} is where they would be announced")]
