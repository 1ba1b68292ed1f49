"""``taskrun schema``: prints the JSON Schema of tasks.toml."""

from __future__ import annotations

import click

from taskrun.cli.answers import answer


@click.command(name="schema")
def command() -> int:
    """Print the JSON Schema of tasks.toml.

    With `taskrun schema > tasks.schema.json`, and `#:schema ./tasks.schema.json` as the first line of tasks.toml,
    editors complete and check the file.
    """
    import json

    from taskrun.config import schema

    return answer(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")
