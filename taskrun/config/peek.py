"""A project file as it is, unchecked and without a word of complaint: for completion, which is asked at every Tab.

Looks in the same places as ``discover``, but imports no msgspec, of which loading and messages are made.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FILE, _PYPROJECT = "tasks.toml", "pyproject.toml"


def peek(explicit: str | None, environ: Mapping[str, str], cwd: str) -> dict[str, Any] | None:
    """The table that is the project; ``None`` where there is no file, or it is no TOML.

    Args:
        explicit: What `-f` said.
        environ: For ``TASKRUN_FILE``.
        cwd: Absolute.
    """
    named = explicit or environ.get("TASKRUN_FILE")
    if named:
        return read_table(os.path.join(cwd, named))
    for folder in _upwards(os.path.abspath(cwd)):
        path = os.path.join(folder, _FILE)
        if os.path.isfile(path):
            return read_table(path)
        table = read_table(os.path.join(folder, _PYPROJECT))
        if table is not None:
            return table
    return None


def read_table(path: str) -> dict[str, Any] | None:
    """The whole of a tasks.toml, or `[tool.taskrun]` of a pyproject.toml; ``None``: it has none, or is no TOML."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except (OSError, ValueError):
        return None
    in_pyproject = os.path.basename(path) == _PYPROJECT
    if in_pyproject and "taskrun" not in text:
        return None  # most do not even have the word, and need no parsing
    import tomli

    try:
        document: Any = tomli.loads(text)
    except (ValueError, RecursionError):
        return None
    if in_pyproject:
        tool = document.get("tool")
        document = tool.get("taskrun") if isinstance(tool, dict) else None
    return document if isinstance(document, dict) else None


def _upwards(folder: str) -> Iterator[str]:
    yield folder
    while (above := os.path.dirname(folder)) != folder:
        folder = above
        yield folder
