"""What CI services understand: folded groups, annotations, and the page that GitHub shows beside a step.

Success is folded and failures are not, which is known only at a task's end: so is everything here written.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Protocol

from taskrun.events import JobEnd, RunEnd, RunStart, Stamped, TaskEnd, WorkerEnd, WorkerStart
from taskrun.model import State
from taskrun.report import words
from taskrun.report.protocol import Reporter

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.report.protocol import AboutTask
    from taskrun.report.screen import Screen

_MOST = 10  # errors that GitHub shows of one step; further ones are dropped silently


class Folding(Protocol):
    """How a service folds a part of its log."""

    def opening(self, task: str, title: str, *, is_failure: bool) -> bytes:
        """What begins a task's output; ``title`` is one line."""

    def closing(self, task: str, *, is_failure: bool) -> bytes:
        """What ends it."""


class Unfolded:
    """A service, or a terminal, that folds nothing: the title is a line."""

    def opening(self, task: str, title: str, *, is_failure: bool) -> bytes:
        """The title."""
        del task, is_failure
        return _line(title)

    def closing(self, task: str, *, is_failure: bool) -> bytes:
        """Nothing."""
        del task, is_failure
        return b""


class GitHubFolding(Unfolded):
    """``::group::``; groups can start neither open nor inside another, so a failure gets none."""

    def opening(self, task: str, title: str, *, is_failure: bool) -> bytes:
        """A folded group, or the bare title."""
        del task
        return _line(title) if is_failure else _line(f"::group::{title.lstrip()}")

    def closing(self, task: str, *, is_failure: bool) -> bytes:
        """The group's end."""
        del task
        return b"" if is_failure else b"::endgroup::\n"


class GitLabFolding(Unfolded):
    """Sections, which say at their beginning whether they are folded."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock

    def opening(self, task: str, title: str, *, is_failure: bool) -> bytes:
        """A section, folded unless the task failed."""
        folded = "" if is_failure else "[collapsed=true]"
        begin = f"section_start:{int(self._wall_clock())}:{_section(task)}{folded}"
        return _line(f"\x1b[0K{begin}\r\x1b[0K{title.lstrip()}")

    def closing(self, task: str, *, is_failure: bool) -> bytes:
        """The section's end."""
        del is_failure
        return _line(f"\x1b[0Ksection_end:{int(self._wall_clock())}:{_section(task)}\r\x1b[0K")


class BuildkiteFolding(Unfolded):
    """A header folds all that follows; an open one shows it."""

    def opening(self, task: str, title: str, *, is_failure: bool) -> bytes:
        """A header."""
        del task
        return _line(f"{'+++' if is_failure else '---'} {title.lstrip()}")


class AzureFolding(Unfolded):
    """``##[group]``, for what did not fail."""

    def opening(self, task: str, title: str, *, is_failure: bool) -> bytes:
        """A folded group, or the bare title."""
        del task
        return _line(title) if is_failure else _line(f"##[group]{title.lstrip()}")

    def closing(self, task: str, *, is_failure: bool) -> bytes:
        """The group's end."""
        del task
        return b"" if is_failure else b"##[endgroup]\n"


class TeamCityFolding(Unfolded):
    """Blocks, told apart by their flow."""

    def opening(self, task: str, title: str, *, is_failure: bool) -> bytes:
        """A block, with the title as its first line."""
        del is_failure
        name = teamcity_escaped(task)
        return _line(f"##teamcity[blockOpened name='{name}' flowId='{name}']") + _line(title)

    def closing(self, task: str, *, is_failure: bool) -> bytes:
        """The block's end."""
        del is_failure
        name = teamcity_escaped(task)
        return _line(f"##teamcity[blockClosed name='{name}' flowId='{name}']")


def folding_for(service: str | None) -> Folding:
    """How a service folds."""
    match service:
        case "github":
            return GitHubFolding()
        case "gitlab":
            return GitLabFolding()
        case "buildkite":
            return BuildkiteFolding()
        case "azure":
            return AzureFolding()
        case "teamcity":
            return TeamCityFolding()
        case _:
            return Unfolded()


class Annotations(Reporter):
    """A reporter that marks each failed task for the service, at the end of the run; of a worker's, each dead job.

    A job that is tried again has not failed yet, and TeamCity has a build fail for each mark.
    """

    def __init__(self, screen: Screen, service: str, about: AboutTask) -> None:
        self._screen = screen
        self._service = service
        self._about = about
        self._file = ""
        self._first: list[TaskEnd] = []
        self._count = 0
        self._by_job = False

    def handle(self, stamped: Stamped) -> None:
        """Takes the next event."""
        event = stamped.event
        if type(event) is RunStart or type(event) is WorkerStart:
            self._file = event.file
            self._by_job = type(event) is WorkerStart
        elif type(event) is TaskEnd and words.failed(event) and not (event.allowed or self._by_job):
            self._note(event)
        elif type(event) is JobEnd and event.outcome == "dead":
            task, reason = words.job_label(event.task, event.job), event.error.partition("\n")[0]
            self._note(TaskEnd(task=task, attempt=event.attempt, state=State.FAILED.value, reason=reason))
        elif type(event) is RunEnd or type(event) is WorkerEnd:
            self._mark()

    def _note(self, end: TaskEnd) -> None:
        self._count += 1
        if len(self._first) < _MOST:
            self._first.append(end)

    def _mark(self) -> None:
        more = self._count - len(self._first)
        for number, event in enumerate(self._first, 1):
            note = f" (and {more:,} more tasks failed)" if more and number == _MOST else ""
            place = self._about(event.task).place or (self._file, None)
            self._screen.say(annotation(self._service, event, place[0], place[1], note))


def annotation(service: str, event: TaskEnd, file: str, line: int | None, note: str = "") -> str:
    """One line that a service shows as an error."""
    title = f"Task '{event.task}' failed"
    message = (event.reason or "failed") + note
    match service:
        case "github":
            where = [f"file={github_property(file)}"] if file else []
            where += [f"line={line}"] if file and line is not None else []
            return f"::error {','.join([*where, f'title={github_property(title)}'])}::{github_data(message)}"
        case "azure":
            where = [f"sourcepath={azure_escaped(file)};"] if file else []
            where += [f"linenumber={line};"] if file and line is not None else []
            return f"##vso[task.logissue type=error;{''.join(where)}]{azure_escaped(f'{title}: {message}')}"
        case _:
            text = teamcity_escaped(f"{title}: {message}")
            return f"##teamcity[buildProblem description='{text}' identity='{teamcity_escaped(event.task)[:60]}']"


ANNOTATED = frozenset({"github", "azure", "teamcity"})
"""Services that have annotations in the log."""


def github_data(text: str) -> str:
    """Text after ``::``."""
    return _printable(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def github_property(text: str) -> str:
    """A value of ``key=value``."""
    return github_data(text).replace(":", "%3A").replace(",", "%2C")


def azure_escaped(text: str) -> str:
    """Text of Azure's logging commands."""
    text = text.replace("%", "%AZP25").replace("\r", "%0D").replace("\n", "%0A")
    return _printable(text.replace(";", "%3B").replace("]", "%5D"))


def teamcity_escaped(text: str) -> str:
    """Text of TeamCity's service messages."""
    text = re.sub(r"(['|\[\]])", r"|\1", text).replace("\n", "|n").replace("\r", "|r")
    return "".join(char if char.isascii() and char.isprintable() else f"|0x{ord(char) & 0xFFFF:04x}" for char in text)


def _section(task: str) -> str:
    return "task_" + re.sub(r"[^A-Za-z0-9_.-]", "_", task)


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def _line(text: str) -> bytes:
    return text.encode(errors="replace") + b"\n"
