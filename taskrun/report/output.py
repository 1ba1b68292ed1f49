"""Shows what tasks write: labelled lines, byte for byte, in one piece at the end, or not at all.

Each attempt that prints has one of these. What is shown at the end is copied from the attempt's log by the writer's
thread, piece by piece, so that neither the loop nor the memory feels its size.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from taskrun.report.kept import Reads, Spool
from taskrun.report.lines import WholeLines, clean, label
from taskrun.report.text import ink_for, visible
from taskrun.report.words import failed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taskrun.events import TaskEnd, TaskOutput, TaskRetry
    from taskrun.report.ci import Folding
    from taskrun.report.protocol import AboutTask, ReadLog
    from taskrun.report.screen import Screen
    from taskrun.report.settings import Settings
    from taskrun.report.writer import Buffer, Source

_HOLD = 64 << 10


class Shown(Protocol):
    """What becomes of one attempt's output."""

    def feed(self, stream: str, data: bytes) -> None:
        """The attempt wrote something."""

    def end(self, title: str | None, *, is_failure: bool, log: str | None) -> None:
        """The attempt is over. ``title`` says how, where that is shown; ``log`` is its log's path, if it has one."""


class Outputs:
    """Chooses for each attempt how its output is shown, and shows it."""

    def __init__(
        self, screen: Screen, settings: Settings, about: AboutTask, read_log: ReadLog, folding: Folding
    ) -> None:
        self.screen = screen
        self.settings = settings
        self.about = about
        self.read_log = read_log
        self.folding = folding
        self._shown: dict[str, Shown] = {}
        self._folder: str | None = None

    def begin(self, folder: str | None) -> None:
        """The run's record lies in ``folder``, to which logs' paths are relative."""
        self._folder = folder

    def output(self, event: TaskOutput) -> None:
        """A task wrote something."""
        shown = self._shown.get(event.task)
        if shown is None:
            shown = self._shown[event.task] = self._choose(event.task)
        shown.feed(event.stream, event.data)

    def end(self, event: TaskEnd, title: str | None) -> None:
        """A task has settled."""
        self._end(event.task, title, is_failure=failed(event), log=event.log)

    def retry(self, event: TaskRetry, title: str | None) -> None:
        """An attempt is over, its task is not: not yet a failure."""
        self._end(event.task, title, is_failure=False, log=event.log)

    def finish(self) -> None:
        """The run is over: nothing that was held back stays so."""
        for task in list(self._shown):
            self._end(task, None, is_failure=True, log=None)

    def path_of(self, log: str | None) -> str | None:
        """Where an attempt's log lies."""
        if log is None or self._folder is None:
            return log
        return os.path.join(self._folder, log)

    @property
    def recorded(self) -> bool:
        """Whether this run has a folder where logs could be."""
        return self._folder is not None

    def _end(self, task: str, title: str | None, *, is_failure: bool, log: str | None) -> None:
        shown = self._shown.pop(task, None)
        if shown is not None:
            shown.end(title, is_failure=is_failure, log=self.path_of(log))
        elif title is not None:
            self.screen.say(title)

    def _choose(self, task: str) -> Shown:
        settings = self.settings
        if task == settings.named:
            return Named(self.screen, settings, {"stdout": settings.named_fd, "stderr": settings.stderr_fd})
        facts = self.about(task)
        mode = settings.output if settings.forced or facts.output in {None, "auto"} else facts.output
        fds = {"stdout": settings.stdout_fd, "stderr": settings.stderr_fd}
        match mode:
            case "stream":
                return Labelled(self.screen, settings, fds, task)
            case "group" | "failed":
                return Grouped(self, fds, task, failed_only=mode == "failed", logged=facts.logged and self.recorded)
            case _:
                return Nothing(self.screen)


class Nothing:
    """Output that is not shown."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def feed(self, stream: str, data: bytes) -> None:
        """It is in the log."""

    def end(self, title: str | None, *, is_failure: bool, log: str | None) -> None:
        """Only how it ended is told."""
        del is_failure, log
        if title is not None:
            self._screen.say(title)


class Labelled:
    """Whole lines as they come, each with the task's name before it."""

    def __init__(self, screen: Screen, settings: Settings, fds: dict[str, int], task: str) -> None:
        self._screen = screen
        self._fds = fds
        self._lines = {"stdout": WholeLines(), "stderr": WholeLines()}
        self._tty = {stream: settings.tty(fd) for stream, fd in fds.items()}
        self._colour = {stream: settings.colour(fd) for stream, fd in fds.items()}
        self._labels = {
            stream: (ink_for(settings, fd).paint("info", f"{visible(task)} |") + " ").encode(errors="replace")
            for stream, fd in fds.items()
        }
        self._bare = None if settings.ci is None else (b"##" if settings.ci in {"azure", "teamcity"} else b"::")

    def feed(self, stream: str, data: bytes) -> None:
        """Shows the lines that are complete now."""
        block = self._lines[stream].feed(data)
        if block:
            self._show(stream, block)

    def end(self, title: str | None, *, is_failure: bool, log: str | None) -> None:
        """Shows what had no line end, then how it ended."""
        del is_failure, log
        for stream, lines in self._lines.items():
            block = lines.finish()
            if block:
                self._show(stream, block)
        if title is not None:
            self._screen.say(title)

    def _show(self, stream: str, block: bytes) -> None:
        block = clean(block, terminal=self._tty[stream], colour=self._colour[stream])
        if block:
            self._screen.write(self._fds[stream], label(block, self._labels[stream], self._bare))


class Named:
    """The one task named: stdout to stdout and stderr to stderr, without a label.

    To a terminal go whole lines, cleaned: what a terminal obeys would outlive the task. Elsewhere every byte goes as it
    is; where status lines go to the same descriptor, an unfinished line is held until it is complete, so that none of
    them falls into its middle.
    """

    def __init__(self, screen: Screen, settings: Settings, fds: dict[str, int]) -> None:
        self._screen = screen
        self._fds = fds
        self._colour = {stream: settings.colour(fd) for stream, fd in fds.items()}
        self._lines = {stream: WholeLines() for stream, fd in fds.items() if settings.tty(fd)}
        shared = settings.ui != "none"
        self._held = {s: b"" for s, fd in fds.items() if shared and fd == settings.status_fd and s not in self._lines}

    def feed(self, stream: str, data: bytes) -> None:
        """Passes it on, or what is complete of it."""
        lines = self._lines.get(stream)
        if lines is not None:
            self._show(stream, lines.feed(data))
            return
        held = self._held.get(stream)
        if held is not None:
            data = held + data
            end = data.rfind(b"\n") + 1
            if len(data) - end > _HOLD:
                end = len(data)
            self._held[stream] = data[end:]
            data = data[:end]
        self._screen.write_raw(self._fds[stream], data)

    def end(self, title: str | None, *, is_failure: bool, log: str | None) -> None:
        """Passes the rest on, then tells how it ended."""
        del is_failure, log
        for stream, lines in self._lines.items():
            self._show(stream, lines.finish())
        for stream, held in self._held.items():
            self._screen.write_raw(self._fds[stream], held)
        if title is not None:
            self._screen.say(title)

    def _show(self, stream: str, block: bytes) -> None:
        block = block and clean(block, terminal=True, colour=self._colour[stream])
        if block:
            self._screen.write(self._fds[stream], block)


class Grouped:
    """All of an attempt's output in one piece when it is over."""

    def __init__(self, outputs: Outputs, fds: dict[str, int], task: str, *, failed_only: bool, logged: bool) -> None:
        self._outputs = outputs
        self._fds = fds
        self._task = task
        self._failed_only = failed_only
        self._kept = Reads() if logged else Spool()

    def feed(self, stream: str, data: bytes) -> None:
        """It is in the log; without one it is kept here."""
        self._kept.add(stream, data)

    def end(self, title: str | None, *, is_failure: bool, log: str | None) -> None:
        """Shows it, if this kind of end is shown, below the line that tells how it ended."""
        screen = self._outputs.screen
        if is_failure or not self._failed_only:
            pieces = self._kept.pieces(log, self._outputs.read_log)
            screen.write_from(self._lines(pieces, title, is_failure=is_failure))
        elif title is not None:
            screen.say(title)

    def _lines(self, pieces: Iterator[tuple[str, bytes]], title: str | None, *, is_failure: bool) -> Source:
        """Runs on the writer's thread."""
        settings, folding = self._outputs.settings, self._outputs.folding
        if title is not None:
            yield settings.status_fd, folding.opening(self._task, title, is_failure=is_failure)
        try:
            yield from self._cleaned(pieces)
        except OSError as error:
            told = f"taskrun: warning: the output of {visible(self._task)} cannot be shown: {error.strerror}\n"
            yield settings.status_fd, told.encode(errors="replace")
        closing = folding.closing(self._task, is_failure=is_failure) if title is not None else b""
        if closing:
            yield settings.status_fd, closing

    def _cleaned(self, pieces: Iterator[tuple[str, bytes]]) -> Iterator[tuple[int, Buffer]]:
        settings = self._outputs.settings
        lines = {"stdout": WholeLines(), "stderr": WholeLines()}
        ends = ((stream, rest.finish()) for stream, rest in lines.items())
        blocks = ((stream, lines[stream].feed(data)) for stream, data in pieces)
        for part in (blocks, ends):
            for stream, block in part:
                fd = self._fds[stream]
                shown = block and clean(block, terminal=settings.tty(fd), colour=settings.colour(fd))
                if shown:
                    yield fd, shown
