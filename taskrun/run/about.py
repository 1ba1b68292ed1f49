"""What the reporters may know of a task beside its events: where it stands in the file, and how to run it again."""

from __future__ import annotations

import os
import shlex
from functools import partial
from typing import TYPE_CHECKING

from taskrun.report.protocol import TaskFacts

if TYPE_CHECKING:
    from taskrun.report.protocol import AboutTask
    from taskrun.resolve import Instance, Selection
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
            rerun=partial(rerun_command, instance, selection, setting),
        )

    return about


def rerun_command(instance: Instance, selection: Selection, setting: Setting) -> str:
    """The command line that runs one instance again, with the same file, variables and arguments."""
    words = ["taskrun", "run"]
    if setting.options.file is not None:
        words += ["-f", setting.options.file]
    words += setting.prepared.resolver.again(instance, selection)
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """For a shell, in one line and in characters that every terminal shows."""
    if word.isprintable():
        return shlex.quote(word)
    escapes = {"'": "\\'", "\\": "\\\\"}
    shown = (
        escapes.get(letter, letter)
        if letter.isprintable()
        else "".join(f"\\x{byte:02x}" for byte in os.fsencode(letter))
        for letter in word
    )
    return f"$'{''.join(shown)}'"
