"""The commands `doctor`, `schema`, `completion` and `mcp`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from watcher.cli import logs
from watcher.cli.option_values import GroupedCommand, environment
from watcher.cli.options import choosing, event_api, placed
from watcher.errors import UsageError

if TYPE_CHECKING:
    from watcher.cli.collected import Place
    from watcher.doctor import Check, Finding

COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "red"}
# The widths of the longest level and the longest name of a check.
LEVEL_WIDTH, CHECK_WIDTH = 9, 15

DOCTOR_EPILOG = """\b
Examples:
  portside doctor
  portside doctor -n shop --skaffold http://127.0.0.1:50052
  portside doctor --output json | jq 'select(.level == "error")'

It changes nothing: it asks for permissions without using them, binds no ports
and does not open Skaffold's event stream.
"""

SCHEMA_EPILOG = """\b
Example, for editors that use the YAML language server:
  portside schema > portside.schema.json
  # yaml-language-server: $schema=portside.schema.json
"""

COMPLETION_EPILOG = """\b
Examples:
  eval "$(portside completion bash)"   in ~/.bashrc
  eval "$(portside completion zsh)"    in ~/.zshrc, after compinit
  portside completion fish > ~/.config/fish/completions/portside.fish

It completes contexts, namespaces, modes and files. forward completes TYPE/NAME
from the cluster, if that answers within 0.3 s (or PORTSIDE_COMPLETE_WITHIN
seconds); wait and explain complete it from what the portsides that run here see.
"""

MCP_EPILOG = """\b
Examples:
  portside mcp --folder ../shop
  In .mcp.json:
  {"mcpServers": {"portside": {"command": "portside", "args": ["mcp"]}}}

It needs the extra: pip install 'portside[mcp]'. It asks the portsides of this folder
through their status addresses, and changes nothing.
"""


@click.command(name="doctor", cls=GroupedCommand, epilog=DOCTOR_EPILOG)
@event_api
@placed
@click.option("--output", type=click.Choice(["plain", "json"]), default="plain", show_default=True)
def doctor_command(url: str, output: str, **given: Any) -> int:
    """Check kubeconfig, permissions, Skaffold, ports and more, and print what to do.

    Exit code 1 if an error keeps portside from working; 0 with notes and warnings.
    """
    import trio

    from watcher.board.lines import json_line
    from watcher.cli.collected import collect_place
    from watcher.doctor import examine, failed
    from watcher.skaffold.http_request import parse_api_address

    place = collect_place(given)
    logs.set_up(0)
    checks = doctor_checks(place, parse_api_address(url).url if url else "", environment())
    findings = trio.run(examine, checks)
    colour = False if os.environ.get("NO_COLOR") else None  # None: colours on a terminal only (no-color.org)
    for finding in findings:
        click.echo(json_line(finding) if output == "json" else _text(finding), color=colour)
    return 1 if failed(findings) else 0


def doctor_checks(place: Place, skaffold: str, environ: Mapping[str, str]) -> tuple[Check, ...]:
    """Returns the checks of `doctor`, in the order of its output. `skaffold`: the URL of a running Skaffold, or ""."""
    from functools import partial

    from watcher.cli.facts_from_options import project_of
    from watcher.doctor import Check, local
    from watcher.doctor.cluster import ANSWER, LOGIN, ClusterChecks

    files = local.ProjectFiles(project_of(place, "dev"), environ)
    cluster = ClusterChecks(place.kubeconfig, place.kube_context, place.namespace, files)
    # Deadlines: the prerequisites' own, and a few round trips or a local program's answer.
    remote, here = local.READING + LOGIN + 2 * ANSWER, 10.0
    return (
        Check("kubeconfig", cluster.kubeconfig_check, remote),
        Check("proxy", cluster.proxy_check, remote),
        Check("server", cluster.server_check, remote),
        Check("permissions", cluster.permissions_check, remote),
        Check("transport", cluster.transport_check, remote),
        Check("docker", partial(local.engine_check, files, environ), local.READING + here),
        Check("skaffold", partial(local.binary_check, environ), here),
        Check("skaffold api", partial(local.api_check, skaffold), here),
        Check("configuration", files.configuration_check, local.READING + here),
        Check("ports", files.ports_check, local.READING + here),
        Check("ipv6", local.ipv6_check, here),
        Check("open files", local.files_check, here),
        Check("surroundings", partial(local.surroundings_check, environ), here),
        Check("portsides", local.portsides_check, here),
    )


def _text(finding: Finding) -> str:
    from watcher.board.lines import printable

    level = click.style(f"{finding.level:{LEVEL_WIDTH}}", fg=COLOURS[finding.level])
    line = f"{level}{finding.check:{CHECK_WIDTH}}{printable(finding.found)}"
    remedy = f"\n{'':{LEVEL_WIDTH + CHECK_WIDTH}}→ {printable(finding.remedy)}" if finding.remedy else ""
    return line + remedy


@click.command(name="schema", epilog=SCHEMA_EPILOG)
def schema_command() -> int:
    """Print the JSON Schema of portside.yaml."""
    import json

    from watcher.config.portside_yaml import schema

    click.echo(json.dumps(schema(), indent=2))
    return 0


@click.command(name="completion", epilog=COMPLETION_EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> int:
    """Print the completion script for a shell."""
    from click.shell_completion import get_completion_class

    from watcher.cli.main import portside
    from watcher.cli.shells import prepare_completion

    prepare_completion()
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click knows all three
    click.echo(kind(portside, {}, "portside", "_PORTSIDE_COMPLETE").source())
    return 0


@click.command(name="mcp", epilog=MCP_EPILOG)
@choosing
def mcp_command(pid: int | None, folder: str | None) -> int:
    """Serve the forwards that run here to agents (Model Context Protocol)."""
    try:
        import mcp.server  # noqa: F401 - is the extra installed?
    except ImportError:
        raise UsageError("the extra is not installed: pip install 'portside[mcp]'") from None
    import anyio

    from watcher.cli.agent_tools import AgentTools, server_for
    from watcher.cli.instances import InstanceFilter

    logs.set_up(0)
    anyio.run(server_for(AgentTools(InstanceFilter(pid, folder))).run_stdio_async, backend="trio")
    return 0
