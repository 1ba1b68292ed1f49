"""From options to a checked project and a resolver that knows what was asked for. Starts nothing, imports no trio."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from taskrun.model import UsageError, Value
from taskrun.record.places import RUNS, state_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from taskrun.config import Project
    from taskrun.resolve import Request, Resolver
    from taskrun.run.options import RunOptions


_NO_RUN = "(run)"  # what `run.id` is in a dry run and a check: visibly none


class Prepared(Value, frozen=True, kw_only=True):
    """What a run, a dry run and a check have in common."""

    project: Project
    request: Request
    resolver: Resolver
    jobs: int
    reads_shell: bool  # some source is a command line: selecting may start processes


def prepare(
    options: RunOptions,
    *,
    environ: Mapping[str, str],
    run_id: str = "",
    colour: bool = False,
    dry: bool = False,
    read_shell: Callable[[str, dict[str, str]], str],
) -> Prepared:
    """Finds and checks the file, and puts the request together.

    Raises:
        UsageError: No file, or options that do not fit.
        ProjectError: Mistakes in the file.
    """
    from taskrun import config
    from taskrun.host.cpus import usable_cpus
    from taskrun.resolve import Request, Resolver

    try:
        cwd = os.getcwd()
    except OSError as error:
        raise UsageError(f"the working directory is gone or cannot be read: {error.strerror}") from None
    project = config.load(config.find(options.file, environ, cwd))
    project = _with_overrides(project, options)
    jobs = options.jobs or project.run.jobs or usable_cpus()
    request = Request(
        targets=options.targets,
        assignments=options.assignments,
        extra=options.extra,
        environ=dict(environ),
        cwd=cwd,
        run_id=run_id or _NO_RUN,
        run_folder=os.path.join(state_folder(project, environ), RUNS, run_id or _NO_RUN),
        jobs=jobs,
        limits=options.limits,
        colour=colour,
        dry=dry,
    )
    return Prepared(
        project=project,
        request=request,
        resolver=Resolver(project, request, read_shell),
        jobs=jobs,
        reads_shell=_reads_shell(project),
    )


def pool_sizes(project: Project, jobs: int) -> dict[str, int]:
    """How many workers each pool may have: no more than there are slots for."""
    return {name: min(spec.size or jobs, jobs) for name, spec in project.pools.items()}


def _with_overrides(project: Project, options: RunOptions) -> Project:
    changes: dict[str, object] = {}
    if options.grace is not None:
        changes["grace"] = options.grace
    if options.deadline is not None:
        changes["deadline"] = options.deadline
    if options.on_failure is not None:
        changes["on_failure"] = options.on_failure
    unknown = sorted(set(options.limits) - set(project.limits))
    if unknown:
        known = ", ".join(f"`{name}`" for name in project.limits) or "none"
        raise UsageError(f"--limit {unknown[0]}: the file has no limit of that name (it has {known})")
    if not changes and not options.limits:
        return project
    return msgspec.structs.replace(
        project,
        run=msgspec.structs.replace(project.run, **changes),
        limits=project.limits | options.limits,
    )


def _reads_shell(project: Project) -> bool:
    from taskrun.config.project import ShellSource

    if any(isinstance(source, ShellSource) for source in project.vars.values()):
        return True
    return any(
        isinstance(source, ShellSource)
        for task in project.tasks.values()
        if task.foreach
        for source in task.foreach.values()
    )


def affordable(jobs: int) -> int:
    """As many attempts at once as there are descriptors for: six each, and some for everything else."""
    import resource

    from taskrun.host.start import raise_nofile_limit

    raise_nofile_limit()
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return jobs if soft == resource.RLIM_INFINITY else max(1, min(jobs, (soft - 64) // 6))


def fewer_jobs(jobs: int, wanted: int) -> tuple[str, ...]:
    """A warning where there are descriptors for fewer attempts at once than there should be."""
    if jobs >= wanted:
        return ()
    return (f"only {jobs} task{'s' * (jobs != 1)} at once instead of {wanted}: too few open files are allowed",)
