"""Status as lines, for logs and pipes: starts, ends, progress now and then, and a sign of life after a silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.report import words
from taskrun.report.text import WORD, percent, rough_time, shorten, visible
from taskrun.report.view import Active, TellingView

if TYPE_CHECKING:
    from taskrun.events import RunStart, TaskEnd, TaskProgress, TaskRetry, TaskStart
    from taskrun.model import Clockwork
    from taskrun.report.output import Outputs
    from taskrun.report.screen import Screen
    from taskrun.report.settings import Settings

_STEP = 0.05  # a line at every so much of progress,
_EVERY = 5.0  # and after so many seconds, if the percent has changed at all
_SILENCE = 60.0
_NAMED = 3
_SHORTEST = 40


class PlainView(TellingView):
    """A reporter that writes one line per change."""

    def __init__(self, screen: Screen, outputs: Outputs, settings: Settings, clock: Clockwork) -> None:
        super().__init__(screen, outputs, settings, clock)
        self._told: dict[str, tuple[float, float]] = {}  # task: fraction and time of its last progress line
        self._silent_since = clock()

    def tick(self, now: float) -> None:
        """Tells who still runs when nothing has been said for a minute."""
        if self.screen.said:
            self.screen.said = False
            self._silent_since = now
        elif self.active and now - self._silent_since >= _SILENCE:
            oldest = list(self.active.values())[:_NAMED]
            named = [self._alive(active, now) for active in oldest]
            self.screen.say(words.heartbeat_line(named, len(self.active) - len(named), self.ink))
            self.screen.said = False
            self._silent_since = now

    def on_run_start(self, event: RunStart) -> None:
        """The silence counts from here."""
        super().on_run_start(event)
        self._silent_since = self.clock()

    def on_start(self, event: TaskStart) -> None:
        """A line for every start."""
        super().on_start(event)
        self._told[event.task] = (0.0, self.clock())
        self.screen.say(self._start_line(event))

    def on_progress(self, event: TaskProgress) -> None:
        """A line for what has moved enough, or has moved at all after a while."""
        super().on_progress(event)
        if event.fraction is None:
            return
        now = self.clock()
        fraction, told = self._told.get(event.task, (0.0, now))
        moved = event.fraction - fraction
        changed = percent(event.fraction) != percent(fraction)
        if moved >= _STEP - 1e-9 or moved < 0 or (changed and (now - told >= _EVERY or event.fraction >= 1)):
            self._told[event.task] = (event.fraction, now)
            self.screen.say(words.progress_line(event, self.ink))

    def on_retry(self, event: TaskRetry) -> None:
        """A line for every retry."""
        self._told.pop(event.task, None)
        super().on_retry(event)

    def on_end(self, event: TaskEnd) -> None:
        """A line for every end of what had begun."""
        self._told.pop(event.task, None)
        super().on_end(event)

    def _start_line(self, event: TaskStart) -> str:
        head = f"{self.ink.word('faint', 'START')}  {self.ink.paint('strong', visible(event.task))}"
        command = words.command(event)
        if self.settings.verbose:
            return f"{head}  {command}  (in {visible(event.cwd)})" if event.cwd else f"{head}  {command}"
        room = max(_SHORTEST, self.settings.width) - WORD - len(event.task) - 4
        return f"{head}  {shorten(command, max(room, 16), self.ink.dots)}"

    def _alive(self, active: Active, now: float) -> str:
        notes = [rough_time(now - active.since)]
        if active.progress is not None and active.progress.fraction is not None:
            notes.append(percent(active.progress.fraction))
        if active.last_output is not None:
            notes.append(f"last output {rough_time(now - active.last_output)} ago")
        return f"{visible(active.start.task)} ({', '.join(notes)})"
