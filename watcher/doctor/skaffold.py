"""Owns the checks of Skaffold: the binary and its version, and whether one that runs serves its API.

Refuses to open its event stream: a reader that leaves it at the wrong moment ends or freezes Skaffold (stream.py).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping

import httpx
import msgspec
import trio

from forwarders.system.processes import find_program
from watcher.config.diagnose import quiet_environment
from watcher.doctor.findings import Finding, error, note, ok, warning
from watcher.skaffold.http_request import parse_api_address

TESTED = "2.16"
STATE = "/v2/state"


async def binary_check(environ: Mapping[str, str]) -> Iterable[Finding]:
    binary = find_program("skaffold", environ.get("PATH"))
    if binary is None:
        remedy = "install it for `portside run`, and to have patches, remote modules and old schemas read"
        return [note("skaffold is not on PATH; skaffold.yaml is read in a plain way without it", remedy)]
    try:
        done = await trio.run_process(
            [binary, "version"],
            capture_stdout=True,
            stderr=subprocess.DEVNULL,
            env=quiet_environment(environ),
            check=False,
        )
    except OSError as problem:
        return [error(f"{binary} cannot be started: {problem.strerror}", "is it an executable of this machine?")]
    version = done.stdout.decode(errors="replace").strip()
    number = re.match(r"v(\d+)\.", version)
    if done.returncode or number is None:
        said = version or f"exit code {done.returncode}"
        return [warning(f"{binary} version says {said}, which is no version", f"portside is tested with {TESTED}")]
    if int(number[1]) < 2:
        return [warning(f"{binary}, {version}: its events may be others", f"portside is tested with {TESTED}: upgrade")]
    return [ok(f"{binary}, {version}; tested with {TESTED}")]


async def api_check(url: str) -> Iterable[Finding]:
    """`url`: as --skaffold takes it, "" for none. The whole answer is read: Skaffold may end where it is cut off."""
    if not url:
        return [
            note("no Skaffold is named; `watch` takes --skaffold URL or SKAFFOLD_RPC_HTTP_PORT, `run` needs neither")
        ]
    address = parse_api_address(url).url
    start = "start it: skaffold dev --port-forward=off --rpc-http-port PORT"
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=None, headers={"Connection": "close"}) as client:  # noqa: S113 - the check's deadline
            answer = await client.get(f"{address}{STATE}")
    except httpx.HTTPError as problem:
        return [warning(f"no Skaffold answers at {address} ({type(problem).__name__}); `watch` waits for one", start)]
    if answer.status_code != httpx.codes.OK or not _is_state(answer.content):
        return [error(f"what answers at {address} is no Skaffold: HTTP {answer.status_code}", start)]
    return [ok(f"Skaffold answers at {address}")]


def _is_state(body: bytes) -> bool:
    try:
        return "buildState" in msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return False
