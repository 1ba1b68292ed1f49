"""``taskrun schema``: prints the JSON Schema of tasks.toml, or of the events."""

from __future__ import annotations

import click

from taskrun.cli.answers import answer


@click.command(name="schema")
@click.option("--events", is_flag=True, help="Of a line of `taskrun run --events`, instead.")
def command(*, events: bool) -> int:
    """Print the JSON Schema of tasks.toml.

    With `taskrun schema > tasks.schema.json`, and `#:schema ./tasks.schema.json` as the first line of tasks.toml,
    editors complete and check the file.
    """
    import json

    if events:
        from taskrun.events import schema
    else:
        from taskrun.config import schema

    return answer(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")
