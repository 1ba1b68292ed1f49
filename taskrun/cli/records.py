"""Where commands find the records and the queue: also where the project's file is broken by now."""

from __future__ import annotations

import os
from typing import Any

from taskrun.model import Value


class Place(Value, frozen=True, kw_only=True):
    """Where a project keeps things; absolute.

    Attributes:
        state: The folder of the records.
        queue: A file, or the address of a server.
        tasks: The names of its tasks; ``None``: the file cannot be read.
    """

    state: str
    queue: str
    tasks: frozenset[str] | None


def place_of(file: str | None) -> Place:
    """Where a project keeps things. The file is only looked at, not checked.

    Raises:
        NoProjectFile: There is none here or above.
        ProjectError: The file named is not there.
    """
    from taskrun.config import find
    from taskrun.config.peek import read_table
    from taskrun.jobqueue.opening import located

    found = find(file, os.environ)
    table = read_table(found.path)
    run = _table(table, "run")
    state = os.environ.get("TASKRUN_STATE") or _text(run.get("state")) or ".taskrun"
    folder = os.path.join(found.root, os.path.expanduser(state))
    return Place(
        state=folder,
        queue=located(found.root, folder, _text(run.get("queue")), os.environ),
        tasks=None if table is None else frozenset(_table(table, "tasks")),
    )


def state_folder(file: str | None) -> str:
    """The absolute folder of the project's records; see ``place_of``."""
    return place_of(file).state


def _table(document: Any, key: str) -> dict[str, Any]:
    value = document.get(key) if isinstance(document, dict) else None
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
