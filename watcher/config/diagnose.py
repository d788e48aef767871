"""Asks Skaffold itself what a project's configuration is: `skaffold diagnose --yaml-only`.

It needs no cluster and applies modules, profiles and patches, in 0.1 to 0.2 s. copies.py sees to it that it answers as
`dev` would; what the answer means is skaffold_yaml.py's.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import trio

from forwarders.system.files import temporary_file
from watcher.config import documents
from watcher.config.copies import Readable
from watcher.config.project import Project
from watcher.errors import ConfigError

# It reads files; remote modules may have to be cloned.
TIMEOUT = 60.0
# Each `SKAFFOLD_<FLAG>` sets that flag of every command, diagnose included, and skaffold.env sets what is not set. So
# those that would open ports, write files or change what is printed are set here, to what they are by default.
_QUIET = {
    **dict.fromkeys(("SKAFFOLD_RPC_PORT", "SKAFFOLD_RPC_HTTP_PORT"), ""),
    **dict.fromkeys(("SKAFFOLD_EVENT_LOG_FILE", "SKAFFOLD_LAST_LOG_FILE", "SKAFFOLD_OUTPUT"), ""),
    **dict.fromkeys(("SKAFFOLD_ENABLE_RPC", "SKAFFOLD_WAIT_FOR_CONNECTION", "SKAFFOLD_UPDATE_CHECK"), "false"),
    **dict.fromkeys(("SKAFFOLD_INTERACTIVE", "SKAFFOLD_TIMESTAMPS", "SKAFFOLD_FORCE_COLORS"), "false"),
    **dict.fromkeys(("SKAFFOLD_ENABLE_TEMPLATING", "SKAFFOLD_HELP"), "false"),
    "SKAFFOLD_VERBOSITY": "warning",
    "SKAFFOLD_COLOR": "0",
}
# Named on the command line, where lists are appended to their variable's.
_NAMED = dict.fromkeys(("SKAFFOLD_PROFILE", "SKAFFOLD_MODULE"), "")
# What a template may look up in the environment.
_LOOKED_UP = re.compile(r"\.([A-Za-z_]\w*)")


def quiet_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a Skaffold that only answers: it opens no ports, and its answer is all that it prints."""
    return {**environ, **_QUIET}


async def diagnose(
    binary: str, readable: Readable, project: Project, environ: Mapping[str, str]
) -> tuple[documents.Mapping, ...]:
    """The effective configurations, one document each. Raises ConfigError with Skaffold's own words."""
    words = ["--filename", readable.name, *project.profile_flags]
    words += [word for profile in project.profiles for word in ("--profile", profile)]
    words += [word for module in project.modules for word in ("--module", module)]
    # `diagnose` has no flags for these, but takes their variables.
    cluster = {"SKAFFOLD_KUBE_CONTEXT": project.kube_context, "SKAFFOLD_KUBECONFIG": project.kubeconfig}
    environment = quiet_environment(environ) | _NAMED | cluster
    try:
        text = await _answer([binary, "diagnose", "--yaml-only", *words], environment, project.filename)
    except ConfigError as error:
        raise ConfigError(readable.in_originals_terms(str(error))) from None
    return documents.documents(text, f"skaffold diagnose of {project.filename}")


async def rendered(
    binary: str, templates: Iterable[str], api_version: str, environ: Mapping[str, str]
) -> dict[str, str]:
    """The templates as Skaffold renders them (Go's, with sprig's functions); without those that it cannot render.

    To `diagnose` a variable that is not set is empty; to `dev`, looking it up is an error. A template that would be
    rendered otherwise if the variable were set is one that `dev` cannot render.
    """
    asked = tuple(dict.fromkeys(templates))
    found = await _rendered_by_halves(binary, asked, api_version, environ)
    unset = {template: set(_LOOKED_UP.findall(template)) - environ.keys() for template in found}
    doubtful = tuple(template for template, names in unset.items() if names)
    all_set = {**environ, **{name: "set" for names in unset.values() for name in names}}
    other = await _rendered_by_halves(binary, doubtful, api_version, all_set)
    return {template: text for template, text in found.items() if not unset[template] or other.get(template) == text}


async def _rendered_by_halves(
    binary: str, asked: tuple[str, ...], api_version: str, environ: Mapping[str, str]
) -> dict[str, str]:
    """One that fails has failed them all."""
    if not asked:
        return {}
    try:
        return dict(zip(asked, await _rendered(binary, asked, api_version, environ), strict=True))
    except ConfigError:
        halves = (asked[: len(asked) // 2], asked[len(asked) // 2 :]) if len(asked) > 1 else ()
        found: dict[str, str] = {}
        for half in halves:
            found |= await _rendered_by_halves(binary, half, api_version, environ)
        return found


async def _rendered(binary: str, templates: Sequence[str], api_version: str, environ: Mapping[str, str]) -> list[str]:
    """Through a configuration that has nothing but an entry of this name for each."""
    items = [{"resourceType": "pod", "resourceName": template, "port": 1} for template in templates]
    with _temporary_file({"apiVersion": api_version, "kind": "Config", "portForward": items}) as name:
        words = ["diagnose", "--yaml-only", "--enable-templating", "--filename", name]
        environment = quiet_environment(environ) | _NAMED
        text = await _answer([binary, *words], environment, "templates")
    answer = documents.documents(text, "skaffold diagnose of templates")
    found = [item for document in answer for item in documents.mappings(document.get("portForward"))]
    if len(found) != len(templates):
        raise ConfigError(f"{binary} diagnose has {len(found)} entries for {len(templates)}")
    return [documents.text_of(item.get("resourceName")) for item in found]


@contextmanager
def _temporary_file(content: object) -> Iterator[str]:
    """A YAML file (JSON is YAML). Raises ConfigError where none can be written."""
    try:
        with temporary_file(json.dumps(content).encode(), ".yaml") as name:
            yield name
    except OSError as error:
        raise ConfigError(f"no temporary file for skaffold diagnose: {error.strerror}") from None


async def _answer(command: Sequence[str], environment: Mapping[str, str], filename: str) -> str:
    binary = command[0]
    try:
        with trio.fail_after(TIMEOUT):
            done = await trio.run_process(
                command,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env=environment,
                stdin=subprocess.DEVNULL,
                deliver_cancel=_kill,
            )
    except OSError as error:
        raise ConfigError(f"{binary} cannot be started to read {filename}: {error.strerror}") from None
    except trio.TooSlowError:
        raise ConfigError(f"`{binary} diagnose` did not read {filename} within {TIMEOUT:.0f} s") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.decode(errors="replace").split())[:400]
        raise ConfigError(f"{filename}: Skaffold cannot read it: {said or f'exit code {done.returncode}'}")
    return done.stdout.decode(errors="replace")


async def _kill(process: trio.Process) -> None:
    """At once: it only reads, and nobody waits for what it would still print."""
    process.kill()
