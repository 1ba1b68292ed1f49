"""Programs that tasks start and that are not there: a warning of `taskrun check`. Looks at files, starts nothing."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from taskrun.config import Project, TaskSpec
    from taskrun.model import Diagnostic

_PLATFORM = "macos" if sys.platform == "darwin" else "linux"


def missing_programs(project: Project, tasks: Iterable[TaskSpec], environ: Mapping[str, str]) -> Iterator[Diagnostic]:
    """Warnings, one for each task whose program cannot be found, as far as that can be known before a run.

    What holds a look-up is not known, what another task may make is given the benefit of the doubt, and a task for
    another platform is left alone.
    """
    for task in tasks:
        key, program = ("shell-argv", task.shell_argv[0]) if task.shell is not None else ("run", (task.run or ("",))[0])
        if not program or "{{" in program or not _is_for_this_platform(task):
            continue
        path = _search_path(project, task, environ)
        if path is None or _is_there(program, task, project.root, path):
            continue
        yield project.source.diagnostic(
            "program-not-found",
            f"`{program}` of task `{task.name}` is not {'there' if '/' in program else 'on PATH'}",
            path=("tasks", task.name, "run", 0) if key == "run" else ("tasks", task.name, "shell"),
            label="the task will fail unless it is there by then",
            level="warning",
        )


def _is_for_this_platform(task: TaskSpec) -> bool:
    return not task.when or any(not when.platform or _PLATFORM in when.platform for when in task.when)


def _search_path(project: Project, task: TaskSpec, environ: Mapping[str, str]) -> str | None:
    """The task's PATH; ``None``: it depends on a look-up, or on a file of variables."""
    path = task.env.get("PATH") or project.env.get("PATH") or environ.get("PATH", os.defpath)
    return None if "{{" in path or (task.dotenv and "PATH" not in environ) else path


def _is_there(program: str, task: TaskSpec, root: str, path: str) -> bool:
    folder = os.path.join(root, task.cwd)
    if "/" in program:
        return bool(task.needs) or "{{" in task.cwd or _is_executable(os.path.join(folder, program))
    return any(_is_executable(os.path.join(folder, each, program)) for each in path.split(os.pathsep))


def _is_executable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)
