"""The Markdown page that GitHub shows beside a step: failures first. Appended to a file, bounded in size."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from taskrun.events import RunEnd, RunStart, Stamped, TaskEnd
from taskrun.model import State
from taskrun.report import words
from taskrun.report.protocol import Reporter
from taskrun.report.text import count, rerun_command, rough_time, short_time, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taskrun.report.protocol import AboutTask
    from taskrun.report.tails import Tails

_LARGEST = 900_000  # bytes; above 1 MiB the whole step's page is refused
_FAILURES = 50
_ROWS = 1000
_MARKS = {
    State.SUCCEEDED.value: "✅",
    State.FAILED.value: "❌",
    State.TIMED_OUT.value: "⏰",
    State.CANCELLED.value: "🛑",
}


class StepSummary(Reporter):
    """A reporter that appends to the page when the run has ended. A page that cannot be written is no failure."""

    def __init__(self, path: str, about: AboutTask, tails: Tails) -> None:
        self._path = path
        self._about = about
        self._tails = tails
        self._begun = False
        self._ends: list[TaskEnd] = []

    def handle(self, stamped: Stamped) -> None:
        """Takes the next event."""
        event = stamped.event
        if type(event) is RunStart:
            self._begun = True
        elif type(event) is TaskEnd:
            self._ends.append(event)
        elif type(event) is RunEnd and self._begun:
            self._append(self._page(event))

    def _append(self, page: bytes) -> None:
        with contextlib.suppress(OSError):  # decoration: the log tells the same
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                if os.fstat(fd).st_size + len(page) <= _LARGEST:
                    os.write(fd, page)
            finally:
                os.close(fd)

    def _page(self, end: RunEnd) -> bytes:
        page, size = [], 0
        for part in self._parts(end):
            data = part.encode(errors="replace")
            size += len(data)
            if size > _LARGEST // 2:
                page.append("\n… and more than this page holds.\n".encode())
                break
            page.append(data)
        return b"".join(page)

    def _parts(self, end: RunEnd) -> Iterator[str]:
        """Parts that are each complete Markdown, the most important first."""
        failures = [event for event in self._ends if words.failed(event) and not event.allowed]
        rest = [event for event in self._ends if event.attempt and event not in failures]
        mark = "✅" if end.exit_status == 0 else "❌"
        told = f"{count(len(failures), 'task')} failed" if failures else f"{count(len(rest), 'task')} done"
        yield f"### {mark} taskrun: {told} in {rough_time(end.elapsed)}\n\n"
        if failures:
            yield "| | task | time | why |\n|---|---|---:|---|\n" + "".join(map(_row, failures[:_FAILURES]))
            if len(failures) > _FAILURES:
                yield f"\nand {len(failures) - _FAILURES:,} more\n"
            yield "\n"
        for event in failures[:_FAILURES]:
            yield self._details(event)
        if rest:
            rows = "".join(map(_row, rest[:_ROWS]))
            more = f"\nand {len(rest) - _ROWS:,} more\n" if len(rest) > _ROWS else ""
            head = "| | task | time | |\n|---|---|---:|---|\n"
            told = count(len(rest), "other task")
            yield f"<details><summary>{told}</summary>\n\n{head}{rows}{more}\n</details>\n\n"

    def _details(self, event: TaskEnd) -> str:
        tail = self._tails.of_failed(event.task)
        lines = [*(tail.lines if tail is not None else ()), *event.detail.rstrip("\n").split("\n")]
        text = "\n".join(line[:500] for line in lines if line)
        rerun = rerun_command(event.task, self._about)
        shown = f"{_fenced(text)}\n" if text else ""
        return (
            f"<details><summary>{_html(event.task)}: {_html(event.reason or 'failed')}</summary>\n\n"
            f"{shown}Run it again:\n\n{_fenced(rerun)}\n</details>\n\n"
        )


def _row(event: TaskEnd) -> str:
    mark = _MARKS.get(event.state, "·")
    return f"| {mark} | {_cell(event.task)} | {short_time(event.elapsed)} | {_cell(event.reason)} |\n"


def _cell(text: str) -> str:
    return _html(visible(text)).replace("|", "\\|").replace("`", "\\`").replace("*", "\\*").replace("_", "\\_")


def _html(text: str) -> str:
    return visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _fenced(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}\n"
