"""Owns the check of the Docker engine, for a project that deploys with Docker alone. Others hear nothing of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import httpx
import msgspec

from watcher.docker.containers import client_of
from watcher.docker.daemon import daemon_of
from watcher.doctor.findings import Finding, error, ok
from watcher.doctor.project import ProjectFiles
from watcher.errors import DaemonAddressError
from watcher.user_files import home_folder


class _Version(msgspec.Struct, frozen=True, rename="pascal"):
    version: str


async def engine_check(files: ProjectFiles, environ: Mapping[str, str]) -> Iterable[Finding]:
    if not await files.docker():
        return []
    try:
        daemon = daemon_of(environ, home_folder())
    except DaemonAddressError as problem:
        return [error(str(problem), "correct DOCKER_HOST, or choose another context: docker context use")]
    where = daemon.socket or daemon.url
    try:
        async with client_of(daemon) as client:
            answer = (await client.get("/version")).raise_for_status()
        return [
            ok(f"the engine at {where} answers, version {msgspec.json.decode(answer.content, type=_Version).version}")
        ]
    except (httpx.HTTPError, msgspec.DecodeError) as problem:
        said = f"the engine at {where} does not answer: {str(problem) or type(problem).__name__}"
        return [error(said, "start Docker; may this user use its socket?")]
