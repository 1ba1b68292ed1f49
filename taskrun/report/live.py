"""The live area below the lines of a terminal: running tasks with their bars, and one line of counts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from taskrun.report.settings import NARROWEST
from taskrun.report.text import WORD, cells, clock_time, percent, rough_time, shorten, shorten_label, visible
from taskrun.report.view import Active, TellingView
from taskrun.report.words import failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.events import (
        JobEnd,
        PoolState,
        RunCancel,
        RunEnd,
        RunStart,
        Stamped,
        TaskEnd,
        TaskQueued,
        TaskStart,
        WorkerEnd,
        WorkerStart,
        WorkerStopping,
    )
    from taskrun.model import Clockwork
    from taskrun.report.output import Outputs
    from taskrun.report.screen import Screen
    from taskrun.report.settings import Settings
    from taskrun.report.tails import Tails
    from taskrun.report.text import Ink

ROWS = 8
_PATIENCE = 0.5  # seconds before anything is drawn: short runs stay quiet
_FRAME = 0.1
_NONE_BUT_COUNTS = 3  # rows of a terminal that are not for tasks: counts, "and more", the cursor's

Piece = tuple[str, str]  # style ("" for none) and text


class LiveView(TellingView):
    """A reporter that redraws a few rows, ten times a second at most and only when they have changed."""

    def __init__(
        self,
        screen: Screen,
        outputs: Outputs,
        settings: Settings,
        clock: Clockwork,
        *,
        tails: Tails,
        size: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(screen, outputs, settings, clock)
        self._tails = tails
        self._size = size or self._terminal_size
        self._drawn_at = clock() + _PATIENCE - _FRAME
        self._began = clock()
        self._total = 0
        self._settled = 0
        self._failed = 0
        self._jobs: JobCounts | None = None
        self._queued: set[str] = set()
        self._pools: dict[str, PoolState] = {}
        self._cancelled = ""
        self._paused = False
        self._over = False

    def handle(self, stamped: Stamped) -> None:
        """Takes the next event."""
        super().handle(stamped)
        self.tick(self.clock())

    def tick(self, now: float) -> None:
        """Draws, if a frame is due."""
        if now - self._drawn_at < _FRAME or self._paused or self._over or not self.started:
            return
        if self.screen.writer.behind:
            return  # a slow terminal gets its lines first
        self._drawn_at = now
        columns, lines = self._size()
        self.screen.draw(self.rows(now, columns, lines) if columns >= NARROWEST else [], columns)

    def suspend(self) -> None:
        """Takes the area away."""
        self._paused = True
        self.screen.give_back()

    def resume(self) -> None:
        """Draws it again with the next frame."""
        self._paused = False

    def close(self) -> None:
        """Takes the area away for good."""
        self._over = True
        self.screen.give_back()

    def on_run_start(self, event: RunStart) -> None:
        """The patience counts from here."""
        super().on_run_start(event)
        self._total = len(event.tasks)
        self._began = self.clock()
        self._drawn_at = self._began + _PATIENCE - _FRAME

    def on_queued(self, event: TaskQueued) -> None:
        """One more waits."""
        self._queued.add(event.task)

    def on_start(self, event: TaskStart) -> None:
        """One less waits, one more runs."""
        super().on_start(event)
        self._queued.discard(event.task)

    def on_end(self, event: TaskEnd) -> None:
        """One more is settled."""
        self._settled += 1
        self._failed += failed(event) and not event.allowed
        self._queued.discard(event.task)
        super().on_end(event)

    def on_pool(self, event: PoolState) -> None:
        """The counts say how it stands."""
        self._pools[event.pool] = event

    def on_cancel(self, event: RunCancel) -> None:
        """The counts say so too."""
        self._cancelled = "killing" if event.killing else "stopping"
        super().on_cancel(event)

    def on_run_end(self, event: RunEnd) -> None:
        """The area goes; what is left are lines."""
        self.close()
        super().on_run_end(event)

    def on_worker_start(self, event: WorkerStart) -> None:
        """From here on jobs are counted, of which nobody knows how many will come."""
        super().on_worker_start(event)
        self._jobs = JobCounts()
        self._began = self.clock()

    def on_job_end(self, event: JobEnd) -> None:
        """One more is over."""
        if self._jobs is not None:
            self._jobs.add(event.outcome)
        super().on_job_end(event)

    def on_worker_stopping(self, event: WorkerStopping) -> None:
        """The counts say so too."""
        self._cancelled = "finishing"
        super().on_worker_stopping(event)

    def on_worker_end(self, event: WorkerEnd) -> None:
        """As the end of a run."""
        self.close()
        super().on_worker_end(event)

    def rows(self, now: float, columns: int, lines: int) -> list[str]:
        """The rows of the area as they should be now, each narrower than the terminal."""
        most = max(0, min(ROWS, lines - _NONE_BUT_COUNTS))
        shown = list(self.active.values())[:most]
        names = min(max((cells(visible(a.start.task)) for a in shown), default=0), columns * 2 // 5)
        rows = [self._row(active, now, columns, names) for active in shown]
        more = len(self.active) - len(shown)
        if more and most:
            rows.append([("", " " * (WORD + 2)), ("faint", f"{self.ink.dots} and {more:,} more")])
        rows.append(self._counts(now))
        return [fit(pieces, columns - 1, self.ink) for pieces in rows]

    def _row(self, active: Active, now: float, columns: int, names: int) -> list[Piece]:
        progress = active.progress
        name = shorten_label(visible(active.start.task), names, self.ink.dots)
        pieces: list[Piece] = [("info", f"{'running':>{WORD}}"), ("", f"  {name}{' ' * (names - cells(name))}  ")]
        width = 20 if columns >= 80 else 10
        fraction = progress.fraction if progress is not None else None
        if fraction is not None:
            full = min(width, int(fraction * width + 1e-9))
            pieces += [("info", self.ink.bar * full), ("faint", self.ink.space * (width - full))]
            pieces.append(("", f" {percent(fraction):>4}"))
        else:
            pieces.append(("", " " * (width + 5)))
        pieces.append(("", f"  {rough_time(now - active.since):>6}"))
        if progress is not None and progress.eta is not None and (fraction or 0) < 1:
            pieces.append(("", f"  eta {clock_time(progress.eta)}"))
        message = visible(progress.message) if progress is not None else ""
        if message:
            pieces.append(("", f"  {message}"))
        else:
            pieces.append(("faint", f"  {self._tails.last_line(active.start.task)}".rstrip()))
        return pieces

    def _counts(self, now: float) -> list[Piece]:
        parts = [f"{len(self.active):,} running"]
        if self._queued:
            parts.append(f"{len(self._queued):,} queued")
        parts += [pool_text(state) for state in self._pools.values()]
        parts.append(rough_time(now - self._began))
        if self._cancelled:
            parts.append(self._cancelled)
        if self._jobs is not None:
            return [*self._jobs.pieces(self.ink.between), ("", self.ink.between.join(parts))]
        pieces: list[Piece] = [("strong", f" [{self._settled:,}/{self._total:,}]"), ("", " ")]
        if self._failed:
            pieces += [("bad", f"{self._failed:,} failed"), ("", self.ink.between)]
        pieces.append(("", self.ink.between.join(parts)))
        return pieces

    def _terminal_size(self) -> tuple[int, int]:
        try:
            size = os.get_terminal_size(2)
        except OSError:
            return self.settings.width, 24
        # A terminal that does not know its size says 0.
        return self.settings.columns or size.columns or 80, size.lines or 24


class JobCounts:
    """How the jobs of a queue worker have ended so far."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, outcome: str) -> None:
        """One more has ended so."""
        self._counts[outcome] = self._counts.get(outcome, 0) + 1

    def pieces(self, between: str) -> list[Piece]:
        """The first pieces of the row of counts."""
        pieces: list[Piece] = [("strong", f" {self._counts.get('done', 0):,} done"), ("", between)]
        for outcome, style in (("retry", "warn"), ("dead", "bad")):
            if outcome in self._counts:
                word = "retried" if outcome == "retry" else outcome
                pieces += [(style, f"{self._counts[outcome]:,} {word}"), ("", between)]
        return pieces


def pool_text(state: PoolState) -> str:
    """How a pool stands, in a few words."""
    text = f"{visible(state.pool)} {state.busy}/{state.size} busy"
    if state.restarts:
        text += f", {state.restarts:,} restart{'s' * (state.restarts != 1)}"
    return text


def fit(pieces: list[Piece], columns: int, ink: Ink) -> str:
    """Pieces of a row, painted, within so many columns."""
    row, room = "", columns
    for style, text in pieces:
        cut = shorten(text, room, ink.dots)
        room -= cells(cut)
        row += ink.paint(style, cut) if style and cut else cut
        if cut != text or room <= 0:
            break
    return row
