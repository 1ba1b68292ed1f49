"""Checks that take more than one table: names that clash, tasks and limits that do not exist, circles of dependencies.

Linear in the size of the file and without recursion: chains of any length are fine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.config.circles import check_circles, check_finally
from taskrun.config.mistakes import describe
from taskrun.config.references import References
from taskrun.config.wording import suggestion

if TYPE_CHECKING:
    from taskrun.config.mistakes import Mistakes
    from taskrun.config.project import Project, TaskSpec
    from taskrun.config.source import Path

_NUL = ("\\x00", "\\u0000", "\\U00000000")
"""The only ways in which a TOML file can have a NUL character."""


def check(project: Project, document: dict[str, object], mistakes: Mistakes) -> None:
    """Collects the mistakes of a completed project.

    Args:
        project: Completed from ``document``.
        document: The file's table as read.
        mistakes: What was found so far; grows.
    """
    if any(escape in project.source.text for escape in _NUL):
        _check_nul(document, (), mistakes)
    _check_names(project.tasks, mistakes)
    _check_limits(project, document, mistakes)
    if "pool" in project.source.text:
        from taskrun.config.pools import check_pools

        check_pools(project, document, mistakes)
    for name, task in project.tasks.items():
        if task.interactive and task.stdin is not None:
            message = f"{describe(('tasks', name, 'stdin'))} has no meaning, since the task is interactive"
            mistakes.add("conflict", message, ("tasks", name, "stdin"), part="key", label="it reads from the terminal")
        if task.interactive and (task.every is not None or task.cron is not None):
            key = "every" if task.every is not None else "cron"
            message = f"{describe(('tasks', name, key))} has no meaning, since the task is interactive"
            mistakes.add("conflict", message, ("tasks", name, key), part="key", label="workers have no terminal")
    references = References(project, mistakes)
    references.check_default()
    if not _in_order(project.tasks):
        edges = references.edges()
        if not check_circles(edges, mistakes):
            check_finally(edges, references.finally_owners(), mistakes)


def _in_order(tasks: dict[str, TaskSpec]) -> bool:
    """Whether every task needs, by name, earlier ones only: then all exist, and nothing can go in a circle."""
    seen: set[str] = set()
    for name, task in tasks.items():
        if task.finally_ or not seen.issuperset(task.needs):
            return False
        seen.add(name)
    return True


def _check_nul(value: object, path: Path, mistakes: Mistakes) -> None:
    """No program, file or variable can be given a NUL."""
    stack: list[tuple[object, Path]] = [(value, path)]
    while stack:
        value, path = stack.pop()
        if isinstance(value, dict):
            for key, inner in value.items():
                if "\0" in key:
                    mistakes.add("bad-value", f"{describe((*path, key))} has a NUL character", (*path, key), part="key")
                stack.append((inner, (*path, key)))
        elif isinstance(value, list):
            stack += [(inner, (*path, index)) for index, inner in enumerate(value)]
        elif isinstance(value, str) and "\0" in value:
            label = "programs, files and variables cannot have any"
            mistakes.add("bad-value", f"{describe(path)} has a NUL character", path, label=label)


def _check_names(tasks: dict[str, TaskSpec], mistakes: Mistakes) -> None:
    """Names must differ in more than case, since logs are files; an alias must not be another's name."""
    if len({name.casefold() for name in tasks}) == len(tasks) and not any(task.aliases for task in tasks.values()):
        return
    folded: dict[str, str] = {}
    owners: dict[str, str] = {}
    for name, task in tasks.items():
        first = folded.setdefault(name.casefold(), name)
        if first is not name:
            message = f"task `{name}` differs from task `{first}` in case only"
            notes = (_first(mistakes, ("tasks", first)),)
            path: Path = ("tasks", name)
            mistakes.add("duplicate-name", message, path, part="key", label="use another name", notes=notes)
        for index, alias in enumerate(task.aliases):
            place: Path = ("tasks", name, "aliases", index)
            if alias in tasks:
                message = f"the alias `{alias}` of task `{name}` is the name of a task"
                mistakes.add("duplicate-name", message, place, label="use another alias")
            elif alias in owners:
                message = f"the alias `{alias}` of task `{name}` is also one of task `{owners[alias]}`"
                mistakes.add("duplicate-name", message, place, label="use another alias")
            else:
                owners[alias] = name


def _first(mistakes: Mistakes, path: Path) -> str:
    span = mistakes.source.span(path, "key")
    return "" if span is None else f"note: the first is at {mistakes.source.path}:{span.line}:{span.column}"


def _check_limits(project: Project, document: dict[str, object], mistakes: Mistakes) -> None:
    """Every limit that a task takes exists, and is high enough."""
    if "defaults" in document:
        _check_demands(project, ("defaults", "limits"), _own_limits(document["defaults"]), mistakes)
    tables = document.get("tasks", {})
    assert isinstance(tables, dict)
    for name, task in project.tasks.items():
        if task.limits:
            _check_demands(project, ("tasks", name, "limits"), _own_limits(tables[name]), mistakes)


def _own_limits(table: object) -> dict[str, int]:
    """What one table itself says of limits, as it was read."""
    assert isinstance(table, dict)
    limits = table.get("limits")
    if isinstance(limits, dict):
        return limits
    return dict.fromkeys(limits, 1) if isinstance(limits, list) else {}


def _check_demands(project: Project, path: Path, demands: dict[str, int], mistakes: Mistakes) -> None:
    for index, (name, demand) in enumerate(demands.items()):
        total = project.limits.get(name)
        if total is not None and demand <= total:
            continue
        place: Path = (*path, name)
        if mistakes.source.span(place) is None:
            place = (*path, index)
        if total is None:
            message = f"{describe(path)} names the limit `{name}`, which is not in [limits]"
            label = suggestion(name, project.limits) or f"add `{name} = ...` to [limits]"
            mistakes.add("unknown-limit", message, place, part="key", label=label)
        else:
            message = f"{describe(path)} takes {demand} of the limit `{name}`, of which there are {total}"
            mistakes.add("limit-exceeded", message, place, label="it could never start")
