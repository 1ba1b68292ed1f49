"""Folders of tasks that are not there when a run begins, and that no task is going to make in time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taskrun.config import Project
    from taskrun.model import Diagnostic
    from taskrun.resolve import Selection


def missing_folders(project: Project, selection: Selection, level: str = "error") -> Iterator[Diagnostic]:
    """One diagnostic for each task that could not start in its `cwd`, as far as that is sure.

    A task that needs others, or comes after them as a `finally` task, may find what they have made. One that needs
    nothing may start first, whatever else is in the plan. What holds a look-up, or is subject to `when`, is left to
    the start of the attempt.
    """
    seen: set[str] = set()
    for instance in selection.instances.values():
        task = instance.spec
        if task.cwd == "." or task.name in seen or task.needs or task.when or "{{" in task.cwd:
            continue
        seen.add(task.name)
        why = _wrong_with(os.path.join(project.root, task.cwd))
        if why and not _comes_after(selection, instance.name):
            yield project.source.diagnostic(
                "missing-folder",
                f"the folder `{task.cwd}` of task `{task.name}` {why}",
                path=("tasks", task.name, "cwd"),
                label="the task needs no other that could make it",
                level=level,
            )


def _wrong_with(path: str) -> str:
    if not os.path.exists(path):
        return "does not exist"
    if not os.path.isdir(path):
        return "is no folder"
    return "" if os.access(path, os.X_OK) else "may not be entered"


def _comes_after(selection: Selection, name: str) -> bool:
    return any(name in instance.finally_ for instance in selection.instances.values())
