"""From the checked tables of one file to the ``Project``: reads every key and completes each task from `[defaults]`.

Collects mistakes and goes on; what it returns is only used where there were none, or to look for more of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskrun.config.mistakes import describe
from taskrun.config.project import Project, Retry, RunSettings, TaskSpec
from taskrun.config.readers import READERS, read_names
from taskrun.config.rules import check_keys, check_task
from taskrun.config.sources import read_foreach, read_variables
from taskrun.config.units import BadValue, is_ffmpeg, seconds
from taskrun.model import Clocks, OnFailure, ProgressSource

if TYPE_CHECKING:
    from taskrun.config.mistakes import Mistakes
    from taskrun.config.project import PoolSpec
    from taskrun.config.source import Path, SourceFile

OURS = frozenset(f"TASKRUN_{name}" for name in ("RUN", "JOB", "TASK", "ATTEMPT", "SLOTS", "MARK", "PROGRESS"))
"""Variables that taskrun sets for every task, and that nobody else may."""

_CLOCKS = frozenset({"timeout", "start", "idle", "stall"})
_FFMPEG = ProgressSource(parser="ffmpeg")
_OFF: dict[str, Any] = {"when": (), "limits": {}}
"""What `false` means in ``TaskSpec``, where it is not ``None``."""
_IN_PARTS = _CLOCKS | {"retry"} | _OFF.keys()


def complete(document: dict[str, Any], source: SourceFile, root: str, mistakes: Mistakes) -> Project:
    """Builds the project from a document that fits the file model."""
    check_keys("FileTable", document, (), mistakes)
    env = document.get("env", {})
    _check_env(env, ("env",), mistakes)
    return Project(
        source=source,
        root=root,
        run=_run_settings(document.get("run", {}), mistakes),
        limits=document.get("limits", {}),
        vars=read_variables(document.get("vars", {}), mistakes),
        env=env,
        tasks=_tasks(document.get("tasks", {}), document.get("defaults", {}), mistakes),
        pools=_pools(document, mistakes),
    )


def _pools(document: dict[str, Any], mistakes: Mistakes) -> dict[str, PoolSpec]:
    if "pools" not in document:
        return {}
    from taskrun.config.pools import read_pools  # few files have any

    return read_pools(document["pools"], mistakes)


def _run_settings(table: dict[str, Any], mistakes: Mistakes) -> RunSettings:
    check_keys("RunTable", table, ("run",), mistakes)
    fields: dict[str, Any] = {}
    for key, value in table.items():
        try:
            if key in {"deadline", "grace", "cleanup"}:
                fields[key] = seconds(value)
            elif key == "default":
                fields[key] = read_names(value)
            elif key == "on-failure":
                fields["on_failure"] = OnFailure(value)
            elif key == "keep-runs":
                fields["keep_runs"] = value
            else:
                fields[key] = _place(value) if key == "queue" else value
        except BadValue as bad:
            mistakes.add_value(bad, ("run", key))
    return RunSettings(**fields)


def _place(value: str) -> str:
    """Of the queue: a path, or the address of a server."""
    if "://" in value and not value.startswith(("postgresql://", "postgres://")):
        raise BadValue("names a server that is none of PostgreSQL's", 'a path, or "postgresql://..."')
    return value


def _tasks(tables: dict[str, Any], defaults: dict[str, Any], mistakes: Mistakes) -> dict[str, TaskSpec]:
    check_keys("DefaultsTable", defaults, ("defaults",), mistakes)
    common = _fields(defaults, ("defaults",), mistakes)
    tasks = {}
    for name, table in tables.items():
        path = ("tasks", name)
        if name not in mistakes.broken:
            check_task(table, path, mistakes)
        own = _fields(table, path, mistakes)
        tasks[name] = _task(name, own, common)
        if own.get("retry") and tasks[name].retry.attempts == 1 and "attempts" not in own["retry"]:
            message = f"{describe((*path, 'retry'))} does not say how many `attempts`, and so repeats nothing"
            mistakes.add("missing-key", message, (*path, "retry"), part="key", label="add `retry.attempts`")
    return tasks


def _fields(table: dict[str, Any], path: Path, mistakes: Mistakes) -> dict[str, Any]:
    """Fields of ``TaskSpec`` that a table sets; those of ``Clocks``, ``Retry`` and `limits` still in parts."""
    fields: dict[str, Any] = {}
    for key, value in table.items():
        if key not in READERS:
            continue  # not carried out by this version: noted already
        field, read = READERS[key]
        try:
            fields[field] = read(value)
        except BadValue as bad:
            mistakes.add_value(bad, (*path, key))
    if "foreach" in table:
        fields["foreach"] = read_foreach(table["foreach"], (*path, "foreach"), mistakes)
    if "env" in table:
        _check_env(table["env"], (*path, "env"), mistakes)
    return fields


def _task(name: str, own: dict[str, Any], common: dict[str, Any]) -> TaskSpec:
    """Completes what a task says from what the defaults say."""
    fields = _merged(name, own, common) if common else own
    if not _IN_PARTS.isdisjoint(fields):
        fields = _put_together(fields)
    if "pool" in fields and "python" not in fields:
        del fields["pool"]  # of the defaults, for those whom it concerns
    if "run" in fields and "progress" not in fields and is_ffmpeg(fields["run"][0]):
        fields["progress"] = _FFMPEG
    return TaskSpec(name=name, **fields)


def _put_together(parts: dict[str, Any]) -> dict[str, Any]:
    """Clocks, retries and what was taken away, as ``TaskSpec`` has them."""
    fields = dict(parts)
    clocks = {clock: fields.pop(clock) for clock in _CLOCKS & fields.keys()}
    if clocks:
        fields["clocks"] = Clocks(**clocks)
    if "retry" in fields:
        fields["retry"] = Retry(**(fields["retry"] or {}))
    for field, off in _OFF.items():
        if field in fields and fields[field] is None:
            fields[field] = off
    return fields


def _merged(name: str, own: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    fields = {**common, **own}
    for field in ("retry", "limits"):
        if own.get(field) and common.get(field):
            fields[field] = {**common[field], **own[field]}
    if name in common.get("finally_", ()) and "finally_" not in own:
        del fields["finally_"]  # what tidies up after every task does not after itself and its like
    return fields


def _check_env(table: dict[str, str], path: Path, mistakes: Mistakes) -> None:
    for name in table.keys() & OURS:
        message = f"{describe((*path, name))} is set by taskrun itself"
        mistakes.add("conflict", message, (*path, name), part="key", label="use another name")
