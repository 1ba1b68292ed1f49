"""Puts the reporters of one run together."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from taskrun.report.ci import ANNOTATED, Annotations, folding_for
from taskrun.report.events_out import EventLines
from taskrun.report.output import Outputs
from taskrun.report.plain import PlainView
from taskrun.report.protocol import AboutTask, ReadLog, Reporter, TaskFacts
from taskrun.report.screen import Screen
from taskrun.report.summary import Summary
from taskrun.report.tails import Tails
from taskrun.report.view import StatusView

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from taskrun.events import Stamped
    from taskrun.model import Clockwork
    from taskrun.report.settings import Settings
    from taskrun.report.writer import Writer


class Reporters(Reporter):
    """All reporters of a run as one; each gets every event in the same order.

    Attributes:
        screen: For the rare line that is no event (``screen.say``).
    """

    def __init__(self, reporters: list[Reporter], screen: Screen) -> None:
        self._reporters = reporters
        self.screen = screen

    def handle(self, stamped: Stamped) -> None:
        """Hands the next event on."""
        for reporter in self._reporters:
            reporter.handle(stamped)

    def tick(self, now: float) -> None:
        """Hands the time on."""
        for reporter in self._reporters:
            reporter.tick(now)

    def suspend(self) -> None:
        """Leaves the terminal as it was; what follows is held back until ``resume``."""
        for reporter in self._reporters:
            reporter.suspend()
        self.screen.writer.hold()

    def resume(self, *, draw: bool = True) -> None:
        """The terminal is ours again; without ``draw`` for lines only, as in the background of a shell."""
        self.screen.writer.release()
        if draw:
            for reporter in self._reporters:
                reporter.resume()

    def close(self) -> None:
        """Closes all, also where one fails."""
        errors = []
        for reporter in self._reporters:
            try:
                reporter.close()
            except Exception as error:  # noqa: BLE001 - the others must give the terminal back first
                errors.append(error)
        if errors:
            raise errors[0]


def make_reporters(
    settings: Settings,
    writer: Writer,
    *,
    about: AboutTask | None = None,
    read_log: ReadLog | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: str = "",
    events_fd: int | None = None,
    events_output: bool = False,
    clock: Clockwork = time.monotonic,
) -> Reporters:
    """Makes the reporters that the settings ask for.

    Args:
        settings: What ``decide`` returned.
        writer: What writes; the caller closes it after the reporters.
        about: Facts about a task by its name.
        read_log: Reads back a log that is not the bytes of its attempt any more, since it was capped; without it such
            logs are read as if all were stdout.
        environ: The caller's environment: ``GITHUB_STEP_SUMMARY``.
        cwd: Folder to which paths are shown relatively; empty: the working directory.
        events_fd: What ``open_events`` returned.
        events_output: Write tasks' output to the events as well.
        clock: What ``tick`` gets readings of, in seconds; it should stand still while the run is suspended.
    """
    about = about or _nothing_known
    screen = Screen(writer, settings)
    tails = Tails()
    outputs = Outputs(screen, settings, about, read_log or read_plain_log, folding_for(settings.ci))
    view = view_for(settings, screen, outputs, tails, clock)
    reporters: list[Reporter] = [tails]
    if events_fd is not None:
        reporters.append(EventLines(writer, events_fd, with_output=events_output))
    reporters.append(view)
    if settings.ci in ANNOTATED and settings.ui != "none":
        reporters.append(Annotations(screen, settings.ci, about))
    silent = settings.ui == "none"
    reporters.append(Summary(screen, settings, about, tails, cwd=cwd or os.getcwd(), silent_success=silent))
    page = (environ or {}).get("GITHUB_STEP_SUMMARY")
    if page and settings.ci == "github":
        from taskrun.report.step_summary import StepSummary

        reporters.append(StepSummary(page, about, tails))
    return Reporters(reporters, screen)


def view_for(settings: Settings, screen: Screen, outputs: Outputs, tails: Tails, clock: Clockwork) -> StatusView:
    """The view that the settings ask for."""
    if settings.ui == "live":
        from taskrun.report.live import LiveView

        return LiveView(screen, outputs, settings, clock, tails=tails)
    if settings.ui == "plain":
        return PlainView(screen, outputs, settings, clock)
    return StatusView(screen, outputs, settings, clock)


def read_plain_log(path: str) -> Iterator[tuple[str, bytes]]:
    """Reads a log of which nothing but its bytes is known.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb", buffering=0) as log:
        while data := log.read(1 << 16):
            yield "stdout", data


def _nothing_known(task: str) -> TaskFacts:
    del task
    return TaskFacts()
