"""Checks a job before it is stored, as far as its file tells: the task, and what it is given. It starts nothing.

What only the functions of Python tasks can tell is asked of them by ``taskrun.run.enqueueing``.
"""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING, Any

import msgspec

from taskrun.config.project import GlobSource, Parameter
from taskrun.jobqueue.values import NewJob, NoSuchJob
from taskrun.model import UsageError, Value
from taskrun.resolve.globs import has_wildcard
from taskrun.resolve.instances import read_pins, split_reference
from taskrun.resolve.resolver import Resolver
from taskrun.resolve.values import Request, Selection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taskrun.config.project import Project, TaskSpec

_KEY = r"[A-Za-z_][A-Za-z0-9_.-]*"


class Checked(Value, frozen=True, kw_only=True):
    """A job that may be stored.

    Attributes:
        job: With the task's own name, and paths that mean the same wherever the worker is.
        selection: What its run would consist of.
        resolver: That made the selection.
    """

    job: NewJob
    selection: Selection
    resolver: Resolver

    @property
    def calls_python(self) -> bool:
        """Whether a function can tell more about what it is given."""
        return any(instance.spec.python is not None for instance in self.selection.instances.values())


class JobChecker:
    """Checks jobs against one project.

    Args:
        environ: The caller's; a worker's may be another one.
        cwd: Absolute: relative paths of parameters start here.
    """

    def __init__(self, project: Project, environ: Mapping[str, str], cwd: str) -> None:
        self._project = project
        self._aliases = {alias: name for name, task in project.tasks.items() for alias in task.aliases}
        self._request = Request(environ=dict(environ), cwd=cwd, run_id="(run)", jobs=1, later=True)

    def check(self, job: NewJob) -> Checked:
        """Sees to it that a run of the job's task with what it is given could begin.

        Raises:
            UsageError: There is no such task, it cannot be a job, or it knows no such KEY or value.
            NoSuchJob: The one that it comes after cannot be.
            NothingMatched: What was picked is not there.
            ProjectError: The task has mistakes.
        """
        _check_kinds(job)
        if job.unique == "":
            raise UsageError("a unique key must not be empty: all jobs with it would be one")
        if job.after is not None and not 0 < job.after < 2**63:
            raise NoSuchJob(f"there is no job {job.after} to come after")
        name, pins = self._target(job.task)
        given = dict(job.args)
        for key, value in pins.items():
            if key in given and _text(key, given[key]) != value:
                raise UsageError(f"`{key}` is both {_text(key, given[key])} and {value}")
            given[key] = value
        words = {key: _text(key, value) for key, value in given.items()}
        request = msgspec.structs.replace(self._request, targets=(name,), assignments=words)
        resolver = Resolver(self._project, request, _unread)
        selection = resolver.select()
        _refuse_interactive(name, selection)
        kept = {key: self._kept(key, value, words[key]) for key, value in given.items()}
        return Checked(job=msgspec.structs.replace(job, task=name, args=kept), selection=selection, resolver=resolver)

    def _target(self, text: str) -> tuple[str, dict[str, str]]:
        """The task's name, and what stood in brackets behind it."""
        tasks = self._project.tasks
        name = self._aliases.get(text, text)
        if name in tasks:
            return name, {}
        split = split_reference(text)
        if split is not None:
            name = self._aliases.get(split[0], split[0])
            if name in tasks:
                return name, self._pins(tasks[name], split[1])
        if has_wildcard(text):
            raise UsageError(f"`{text}` is a pattern: a job is a run of one task")
        from taskrun.config.wording import suggestion

        near = suggestion(text, [*tasks, *self._aliases])
        raise UsageError(f"there is no task `{text}`" + (f"; {near}" if near else f" in {self._project.source.path}"))

    def _pins(self, task: TaskSpec, text: str) -> dict[str, str]:
        if not task.foreach:
            raise UsageError(f"`{task.name}` has no `foreach`, and so no instance `{task.name}[{text}]`")
        pins = read_pins(text, task.foreach)
        if pins is None:
            keys = ", ".join(f"`{key}=...`" for key in task.foreach)
            raise UsageError(f"`{task.name}[{text}]` names no instance of `{task.name}`: its keys are {keys}")
        return pins

    def _kept(self, key: str, value: Any, text: str) -> str | int | float | bool:
        """A value as it is stored: a path in it means the same file for a worker that was started elsewhere."""
        source = self._project.vars.get(key)
        cwd, root = self._request.cwd, self._project.root
        if cwd != root and not os.path.isabs(text):
            if isinstance(source, Parameter) and source.type == "path":
                return os.path.relpath(os.path.join(cwd, text), root)
            if isinstance(source, GlobSource):
                return os.path.join(re.sub(r"([*?[])", r"[\1]", os.path.relpath(cwd, root)), text)
        for kind in (bool, int, float):  # of a subclass, such as one of numpy's, the number alone
            if isinstance(value, kind):
                return kind(value)
        return text


def _text(key: str, value: Any) -> str:
    """A value as it would stand on the command line."""
    if not re.fullmatch(_KEY, str(key)):  # a program may have given anything
        raise UsageError(f"`{key}` is no name that an argument can have")
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value[:]  # of a subclass, such as an enumeration's, the text alone
        case int():
            if not -(2**63) <= value < 2**63:
                raise UsageError(f"`{key}` is a whole number of more than 64 bits")
            return str(int(value))
        case float():
            if not math.isfinite(value):
                raise UsageError(f"`{key}` is not a finite number")
            return repr(float(value))
        case os.PathLike():
            return os.fsdecode(os.fspath(value))
    raise UsageError(f"`{key}` is a {type(value).__name__}: an argument is a text, a number or a boolean")


def _check_kinds(job: NewJob) -> None:
    """What a type checker would have said: programs need not have one."""
    for name, value, kind, words in (
        ("task", job.task, str, "a text"),
        ("unique", job.unique, str, "a text"),
        ("priority", job.priority, int, "a whole number"),
        ("max_attempts", job.max_attempts, int, "a whole number"),
        ("after", job.after, int, "a job's id"),
        ("delay", job.delay, (int, float), "a number of seconds"),
        ("at", job.at, (int, float), "a number of seconds"),
    ):
        is_left_out = value is None and name in {"unique", "after", "at"}
        if not is_left_out and (not isinstance(value, kind) or isinstance(value, bool)):
            raise UsageError(f"a job's `{name}` must be {words}, not {value!r}")


def _refuse_interactive(name: str, selection: Selection) -> None:
    for instance in selection.instances.values():
        if instance.spec.interactive:
            who = f"`{name}`" if instance.spec.name == name else f"`{name}` needs `{instance.spec.name}`, which"
            raise UsageError(f"{who} is interactive, and workers have no terminal")


def _unread(_command: str, _env: dict[str, str]) -> str:
    raise AssertionError("what is carried out later reads no command lines now")
