"""The end of a run for people: what failed and how to go on from there, then its victims, then one line of totals.

The text is the same in every mode; colours may be added. The first cause is the last of the failures.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from taskrun.config.wording import signal_name
from taskrun.events import RunCancel, RunEnd, RunStart, Stamped, TaskEnd, TaskStart
from taskrun.model import State
from taskrun.report import words
from taskrun.report.protocol import Reporter
from taskrun.report.tails import LINES, Tail
from taskrun.report.text import count, ink_for, rerun_command, short_time, shorten, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taskrun.report.protocol import AboutTask
    from taskrun.report.screen import Screen
    from taskrun.report.settings import Settings
    from taskrun.report.tails import Tails

BLOCKS = 5
"""Failures that are told in full."""

_NAMED = 10  # failures, victims and others that are named one by one
_DETAIL = 20  # last lines of a traceback
_WIDEST = 500  # characters of one line of a tail
_RULE = 62
_INDENT = " " * 10

# The order and the words of the line of totals.
_TOTALS = (
    ("ok", "good"),
    ("failed", "bad"),
    ("timed out", "bad"),
    ("allowed to fail", "warn"),
    ("stopped", "warn"),
    ("skipped", "faint"),
    ("not run", "faint"),
)


class Summary(Reporter):
    """A reporter that collects what is not fine, and tells it at the end.

    Args:
        screen: Where to.
        settings: How.
        about: Places and commands of failed tasks.
        tails: Their last lines; it must get each event before this reporter does.
        cwd: Folder to which paths are shown relatively where that is shorter.
        silent_success: Say nothing if nothing went wrong.
    """

    def __init__(
        self,
        screen: Screen,
        settings: Settings,
        about: AboutTask,
        tails: Tails,
        *,
        cwd: str,
        silent_success: bool = False,
    ) -> None:
        self._screen = screen
        self._ink = ink_for(settings, settings.status_fd)
        self._about = about
        self._tails = tails
        self._cwd = cwd
        self._silent_success = silent_success
        self._begun: RunStart | None = None
        self._cancel: RunCancel | None = None
        self._commands: dict[str, TaskStart] = {}
        self._totals: dict[str, int] = {}
        self._failures: list[TaskEnd] = []
        self._victims: list[TaskEnd] = []
        self._remarks: list[TaskEnd] = []  # fine in the end, but worth a line

    # --- a reporter's methods

    def handle(self, stamped: Stamped) -> None:
        """Takes the next event."""
        event = stamped.event
        if type(event) is TaskStart:
            self._commands[event.task] = event
        elif type(event) is TaskEnd:
            self._settle(event)
        elif type(event) is RunStart:
            self._begun = event
        elif type(event) is RunCancel:
            self._cancel = event
        elif type(event) is RunEnd and self._begun is not None:
            self._tell(event)

    # --- collecting

    def _settle(self, event: TaskEnd) -> None:
        kind = _kind(event)
        if kind is not None:
            self._totals[kind] = self._totals.get(kind, 0) + 1
        if kind in {"failed", "timed out"}:
            self._failures.append(event)
        else:
            self._commands.pop(event.task, None)
            if kind in {"stopped", "not run"}:
                self._victims.append(event)
            if kind == "allowed to fail" or event.leaked or (kind == "ok" and event.attempt > 1):
                self._remarks.append(event)

    # --- telling

    def _tell(self, end: RunEnd) -> None:
        fine = not self._failures and not self._victims and end.exit_status == 0
        if fine and self._silent_success:
            return
        for line in self._lines(end):
            self._screen.say(line)

    def _lines(self, end: RunEnd) -> Iterator[str]:
        yield from self._failed_tasks(end.first_cause)
        yield from self._victim_lines()
        yield from self._remark_lines()
        if end.leaked:
            yield f"{self._ink.word('warn', 'leaked')}  the run {words.left_behind(end.leaked)}"
        yield self._total_line(end)

    def _failed_tasks(self, first_cause: str | None) -> Iterator[str]:
        """Those of little interest first, so that the first cause stands last."""
        if not self._failures:
            return
        failures = [event for event in self._failures if event.task != first_cause]
        failures += [event for event in self._failures if event.task == first_cause]
        if first_cause is None or failures[-1].task != first_cause:
            failures.reverse()  # nothing is known of causes: the earliest is the likeliest
        elif len(failures) > 1:
            failures = [*reversed(failures[:-1]), failures[-1]]
        brief, blocks = failures[:-BLOCKS], failures[-BLOCKS:]
        yield self._ink.paint("faint", self._ink.rule * _RULE)
        if len(brief) > _NAMED:
            yield f"{_INDENT}and {len(brief) - _NAMED:,} more failed"
            brief = brief[-_NAMED:]
        for event in brief:
            yield self._headline(event)
        for event in blocks:
            yield from self._block(event)

    def _headline(self, event: TaskEnd) -> str:
        text, style = words.status_word(event.state)
        about = self._about(event.task)
        notes = []
        if not words.failed_by_leak(event):
            notes.append(visible(event.reason or "failed"))
            if event.state == State.FAILED.value and event.elapsed > 0 and event.task in self._commands:
                notes[0] += f" after {short_time(event.elapsed)}"
        if event.attempt > 1:
            notes.append(f"attempt {event.attempt}")
        if event.leaked:
            notes.append(words.left_behind(event.leaked))
        place = f"  {visible(about.place[0])}:{about.place[1]}" if about.place is not None else ""
        name = self._ink.paint("strong", visible(event.task))
        return f"{self._ink.word(style, text)}  {name}  {', '.join(notes)}{self._ink.paint('faint', place)}"

    def _block(self, event: TaskEnd) -> Iterator[str]:
        yield self._headline(event)
        start = self._commands.get(event.task)
        if start is not None:
            folder = self._relative(start.cwd) if start.cwd else "."
            where = f"     (in {visible(folder)})" if folder != "." else ""
            first, *rest = words.command_lines(start)
            yield f"{_INDENT}$ {first}{where if not rest else ''}"
            for line in rest:
                yield f"{_INDENT}  {line}"
            if rest and where:
                yield f"{_INDENT}{where.strip()}"
        tail = self._tails.of_failed(event.task)
        yield from self._quoted(() if tail is None else tail.lines)
        yield from self._quoted(_last_lines(event.detail))
        whereabouts = self._ink.between.join(self._whereabouts(event, tail))
        if whereabouts:
            yield f"{_INDENT}{whereabouts}"
        yield f"{_INDENT}rerun: {rerun_command(event.task, self._about)}"

    def _quoted(self, lines: tuple[str, ...]) -> Iterator[str]:
        """Lines of others. No CI service takes a command from them: each begins with a bar."""
        bar = self._ink.paint("faint", "|")
        for line in lines:
            yield f"{_INDENT}{bar} {shorten(visible_line(line), _WIDEST, self._ink.dots)}".rstrip()

    def _whereabouts(self, event: TaskEnd, tail: Tail | None) -> Iterator[str]:
        if tail is not None and not tail.lines:
            if event.task in self._commands and not event.detail:
                yield "no output"
        elif tail is not None and tail.total > LINES:
            more = "" if tail.counted else "more than "
            yield f"last {len(tail.lines)} of {more}{tail.total:,} lines"
        if event.log is not None:
            folder = self._begun.folder if self._begun is not None else None
            path = event.log if folder is None else os.path.join(folder, event.log)
            yield f"log: {visible(self._relative(path))}"
        elif tail is None or tail.lines:
            yield "no log"

    def _relative(self, path: str) -> str:
        if not os.path.isabs(path):
            return path
        relative = os.path.relpath(path, self._cwd)
        return relative if len(relative) < len(path) else path

    def _victim_lines(self) -> Iterator[str]:
        """What was stopped or not run and because of what, folded where it is many."""
        groups: dict[tuple[str, str], list[TaskEnd]] = {}
        for event in self._victims:
            groups.setdefault((_kind(event) or "", _why(event)), []).append(event)
        for (kind, why), events in sorted(groups.items(), key=lambda group: group[0][0] != "stopped"):
            shown = events if len(events) <= _NAMED else events[: _NAMED - 1]
            style = "warn" if kind == "stopped" else "faint"
            for event in shown:
                yield f"{self._ink.word(style, kind)}  {visible(event.task)}  {why}".rstrip()
            if len(shown) < len(events):
                yield f"{self._ink.word(style, kind)}  and {len(events) - len(shown):,} more  {why}".rstrip()

    def _remark_lines(self) -> Iterator[str]:
        for event in self._remarks[:_NAMED]:
            name = visible(event.task)
            if _kind(event) == "allowed to fail":
                yield f"{self._ink.word('warn', 'allowed')}  {name}  {visible(event.reason)}"
            elif event.state == State.SUCCEEDED.value and event.attempt > 1:
                yield f"{self._ink.word('warn', 'flaky')}  {name}  succeeded on attempt {event.attempt}"
            if event.leaked:
                yield f"{self._ink.word('warn', 'leaked')}  {name}  {words.left_behind(event.leaked)}"
        if len(self._remarks) > _NAMED:
            yield f"{_INDENT}and {len(self._remarks) - _NAMED:,} more remarks of these kinds"

    def _total_line(self, end: RunEnd) -> str:
        total = sum(self._totals.values())
        parts = [
            self._ink.paint(style, f"{self._totals[kind]:,} {kind}") for kind, style in _TOTALS if kind in self._totals
        ]
        tasks = f"{count(total, 'task')}: {', '.join(parts)}" if parts else "nothing was run"
        why = self._interruption(end)
        return f"{self._ink.word('strong', 'Summary')}  [{short_time(end.elapsed):>9}] {why}{tasks}"

    def _interruption(self, end: RunEnd) -> str:
        if end.signal is not None:
            return f"interrupted by {signal_name(end.signal)}, "
        if self._cancel is not None and self._cancel.reason and not self._failures:
            return f"stopped since {visible(self._cancel.reason)}, "
        return ""


def _kind(event: TaskEnd) -> str | None:
    """The word of the totals for an end; ``None``: it counts for nothing, such as a group."""
    match event.state:
        case State.SUCCEEDED.value:
            return "ok" if event.attempt or event.reason else None
        case State.FAILED.value | State.TIMED_OUT.value if event.allowed:
            return "allowed to fail"
        case State.FAILED.value:
            return "failed"
        case State.TIMED_OUT.value:
            return "timed out"
        case State.CANCELLED.value:
            return "stopped"
        case State.SKIPPED.value if event.cause is None:
            return "skipped"
        case _:
            return "not run"


def _why(event: TaskEnd) -> str:
    if event.cause is not None:
        return f"because of {visible(event.cause)}"
    return visible(event.reason)


def _last_lines(text: str) -> tuple[str, ...]:
    return tuple(text.rstrip("\n").split("\n")[-_DETAIL:]) if text else ()


def visible_line(line: str) -> str:
    """A line of output or of a traceback: tabs stay."""
    return "\t".join(visible(part) for part in line.split("\t"))
