"""All that is known of a queue worker before trio is imported: what it takes, from where, how it is shown."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from taskrun.model import UsageError, Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.config import Project
    from taskrun.jobqueue.values import Recurring
    from taskrun.report.protocol import TaskFacts
    from taskrun.run.options import RunOptions
    from taskrun.run.prepare import Prepared
    from taskrun.run.setting import Setting

_KEPT = 500  # records of runs that carried jobs out; the queue keeps what is known of a job for longer


class WorkerOptions(Value, frozen=True, kw_only=True):
    """The options of ``taskrun worker``.

    Attributes:
        run: Those that it shares with ``taskrun run``; no targets.
        only: Names and globs of tasks; empty: all.
        drain: End when nothing is left to do.
    """

    run: RunOptions
    only: tuple[str, ...] = ()
    drain: bool = False


class WorkerSetting(Value, frozen=True, kw_only=True):
    """A worker that may begin.

    Attributes:
        run: What each job's setting is made from.
        location: Of the queue.
        only: Tasks of which it takes jobs; ``None``: all.
        recurring: Tasks of which it stores jobs when they are due.
        about: What reporters may ask about a task, by its name.
        warnings: What the user should know.
    """

    run: Setting
    location: str
    only: frozenset[str] | None
    drain: bool
    recurring: tuple[Recurring, ...]
    about: Callable[[str], TaskFacts]
    warnings: tuple[str, ...]


def make_worker_setting(options: WorkerOptions, run_id: str) -> WorkerSetting:
    """Checks everything that can be checked without starting anything; ``run_id`` is the worker's own.

    Raises:
        UsageError: There is no file, or no task of a name.
        ProjectError: The file has mistakes.
    """
    from taskrun.jobqueue.opening import make_place
    from taskrun.jobqueue.recurrence import recurring_of
    from taskrun.record.places import JOBS, state_folder
    from taskrun.run.prepare import affordable, fewer_jobs, prepare
    from taskrun.run.setting import Setting, ShellReader

    environ = dict(os.environ)
    shell = ShellReader()
    prepared = prepare(options.run, environ=environ, run_id=run_id, read_shell=shell)
    wanted = prepared.jobs
    prepared = _for_jobs(prepared, affordable(wanted))
    project = prepared.project
    only = _named(project, options.only)
    _expect_taken(project, prepared.jobs, options.only)
    run = Setting(
        options=options.run,
        run_id=run_id,
        environ=environ,
        prepared=prepared,
        selection=None,
        state=os.path.join(state_folder(project, environ), JOBS),
        keep=max(_KEPT, project.run.keep_runs),
        durable=False,  # it would wait for the disk with every job, and all others with it
        shell=shell,
    )
    return WorkerSetting(
        run=run,
        location=make_place(project, environ),
        only=only,
        drain=options.drain,
        recurring=tuple(each for each in recurring_of(project) if only is None or each.task in only),
        about=_about(project),
        warnings=fewer_jobs(prepared.jobs, wanted),
    )


def _for_jobs(prepared: Prepared, slots: int) -> Prepared:
    """As jobs see it: what the worker gets on its own stdin is no job's, for which of them would it be?"""
    from msgspec.structs import replace

    project = prepared.project
    tasks = {name: replace(task, stdin=None) if task.stdin == "-" else task for name, task in project.tasks.items()}
    return replace(prepared, jobs=slots, project=replace(project, tasks=tasks))


def _named(project: Project, only: tuple[str, ...]) -> frozenset[str] | None:
    """The tasks that names, aliases and globs mean; ``None``: no names, which is all.

    Raises:
        UsageError: One means nothing.
    """
    if not only:
        return None
    import fnmatch

    from taskrun.config.references import is_pattern
    from taskrun.config.wording import suggestion

    aliases = {alias: task.name for task in project.tasks.values() for alias in task.aliases}
    found: set[str] = set()
    for text in only:
        name = aliases.get(text, text)
        if name in project.tasks:
            found.add(name)
            continue
        matched = fnmatch.filter([task.name for task in project.tasks.values() if not task.hidden], text)
        if not matched or not is_pattern(text):
            nearest = suggestion(text, project.tasks)
            raise UsageError(f"--only {text}: there is no such task{f'; {nearest}' if nearest else ''}")
        found.update(matched)
    return frozenset(found)


def _expect_taken(project: Project, slots: int, only: tuple[str, ...]) -> None:
    """Whoever names a task, and not a glob, is told that no worker takes it.

    Raises:
        UsageError: It, or one that it needs, is interactive.
    """
    from taskrun.run.allowance import allowance_of

    taken = allowance_of(project, slots).tasks or {} if only else {}
    for text in only:
        if text in project.tasks and text not in taken:
            raise UsageError(f"--only {text}: it is interactive, or needs a task that is, and workers have no terminal")


def _about(project: Project) -> Callable[[str], TaskFacts]:
    from taskrun.report.protocol import TaskFacts

    def about(name: str) -> TaskFacts:
        task = project.tasks.get(name.partition("[")[0])
        if task is None:
            return TaskFacts()
        span = project.source.span(("tasks", task.name), part="key")
        place = None if span is None else (project.source.path, span.line)
        return TaskFacts(place=place, output=task.output, logged=task.log is not False)

    return about
