"""What the reporters may know of a task beside its events: where it stands in the file, and how to run it again."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

from taskrun.report.protocol import TaskFacts

if TYPE_CHECKING:
    from taskrun.report.protocol import AboutTask
    from taskrun.resolve import Selection
    from taskrun.run.setting import Setting


def about_tasks(selection: Selection, setting: Setting) -> AboutTask:
    """A function from an instance's name to facts about it."""
    source = setting.prepared.project.source

    def about(name: str) -> TaskFacts:
        instance = selection.instances.get(name)
        if instance is None:
            return TaskFacts()
        span = source.span(("tasks", instance.spec.name), part="key")
        return TaskFacts(
            place=None if span is None else (source.path, span.line),
            output=instance.spec.output,
            logged=instance.spec.log is not False,
            rerun=rerun_command(instance.spec.name, instance.keys, setting),
        )

    return about


def rerun_command(task: str, keys: dict[str, Any], setting: Setting) -> str:
    """The command line that runs one instance again, with the same file and variables."""
    options = setting.options
    words = ["taskrun", "run"]
    if options.file is not None:
        words += ["-f", options.file]
    words.append(task)
    picks = {key: os.fspath(value) if isinstance(value, os.PathLike) else str(value) for key, value in keys.items()}
    words += [f"{key}={value}" for key, value in {**options.assignments, **picks}.items()]
    if options.extra is not None and options.targets == (task,):
        words += ["--", *options.extra]
    return shlex.join(words)
