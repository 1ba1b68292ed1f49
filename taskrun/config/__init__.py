"""TOML to ``Project``: finds the file, checks it, and knows the place of every mistake. Never starts anything.

Names resolve on first use: showing a message, say, loads neither tomli nor the file model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskrun.config.discover import Found, NoProjectFile, find, working_directory
    from taskrun.config.json_schema import schema
    from taskrun.config.loading import load, load_text
    from taskrun.config.project import (
        EnvSource,
        GlobSource,
        LinesSource,
        Literal,
        Parameter,
        Project,
        RangeSource,
        Retry,
        RetryRule,
        RunSettings,
        ShellSource,
        Source,
        TaskSpec,
        When,
    )
    from taskrun.config.rendering import render
    from taskrun.config.source import SourceFile

_HOMES = {
    "find": "discover",
    "working_directory": "discover",
    "Found": "discover",
    "NoProjectFile": "discover",
    "load": "loading",
    "load_text": "loading",
    "schema": "json_schema",
    "render": "rendering",
    "SourceFile": "source",
}

__all__ = [
    "EnvSource",
    "Found",
    "GlobSource",
    "LinesSource",
    "Literal",
    "NoProjectFile",
    "Parameter",
    "Project",
    "RangeSource",
    "Retry",
    "RetryRule",
    "RunSettings",
    "ShellSource",
    "Source",
    "SourceFile",
    "TaskSpec",
    "When",
    "find",
    "load",
    "load_text",
    "render",
    "schema",
    "working_directory",
]


def __getattr__(name: str) -> Any:
    """Imports a public name's module."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f"{__name__}.{_HOMES.get(name, 'project')}")
    value = globals()[name] = getattr(module, name)
    return value
