"""Owns `portside schema`: the JSON Schema of portside.yaml, for editors."""

from __future__ import annotations

import click

EPILOG = """\b
Example, for editors that use the YAML language server:
  portside schema > portside.schema.json
  # yaml-language-server: $schema=portside.schema.json
"""


@click.command(name="schema", epilog=EPILOG)
def command() -> int:
    """Print the JSON Schema of portside.yaml."""
    import json

    from watcher.config.settings import schema

    click.echo(json.dumps(schema(), indent=2))
    return 0
