"""The tables of `[pools]`: reads them, and sees that tasks name those that there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskrun.config.mistakes import describe
from taskrun.config.project import PoolSpec
from taskrun.config.readers import read_names, target
from taskrun.config.units import BadValue, seconds, size
from taskrun.config.wording import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.config.mistakes import Mistakes
    from taskrun.config.project import Project
    from taskrun.config.source import Path


def _same(value: Any) -> Any:
    return value


def _modules(value: list[str]) -> tuple[str, ...]:
    names = read_names(value)
    for index, name in enumerate(names):
        if not all(part.isidentifier() for part in name.split(".")):
            raise BadValue(f"is `{name}`, which is no module's name", 'such as "PIL.Image"', at=(index,))
    return names


_READERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "size": ("size", _same),
    "preload": ("preload", _modules),
    "setup": ("setup", target),
    "max-requests": ("max_requests", _same),
    "max-memory": ("max_memory", size),
    "startup-timeout": ("startup_timeout", seconds),
}


def read_pools(tables: dict[str, Any], mistakes: Mistakes) -> dict[str, PoolSpec]:
    """`[pools]`, by name."""
    return {name: _pool(table, ("pools", name), mistakes) for name, table in tables.items()}


def _pool(table: dict[str, Any], path: Path, mistakes: Mistakes) -> PoolSpec:
    fields: dict[str, Any] = {}
    for key, value in table.items():
        field, read = _READERS[key]
        try:
            fields[field] = read(value)
        except BadValue as bad:
            mistakes.add_value(bad, (*path, key))
    return PoolSpec(**fields)


def check_pools(project: Project, document: dict[str, Any], mistakes: Mistakes) -> None:
    """Every pool that a task, or `[defaults]`, names exists."""
    tables: list[tuple[Path, dict[str, Any]]] = [(("defaults",), document.get("defaults", {}))]
    tables += [(("tasks", name), table) for name, table in document.get("tasks", {}).items()]
    for path, table in tables:
        name = table.get("pool")
        if name and name not in project.pools and mistakes.source.span(("pools", name)) is None:
            message = f"{describe((*path, 'pool'))} names the pool `{name}`, which is not in [pools]"
            label = suggestion(name, project.pools) or f"add a table [pools.{name}]"
            mistakes.add("unknown-pool", message, (*path, "pool"), label=label)
