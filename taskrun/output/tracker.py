"""What an attempt's samples amount to: a fraction that never falls, rate and ETA, at most ten updates a second.

It decides what is worth telling and when; it neither tells it nor looks at a clock.
"""

from __future__ import annotations

from math import isnan

from msgspec.structs import replace

from taskrun.model import Value
from taskrun.output.rate import RateWindow
from taskrun.output.samples import Movement, Phase, Sample, Status, Step, Total

INTERVAL = 0.1
"""Seconds between two updates, at least."""

_ETA_FROM = 0.01  # below one percent an ETA is a guess


class Update(Value, frozen=True, kw_only=True):
    """How far an attempt is: the fields of ``events.TaskProgress``, which see."""

    fraction: float | None = None
    current: float | None = None
    total: float | None = None
    message: str = ""
    rate: float | None = None
    eta: float | None = None
    phase: int | None = None
    phases: int | None = None


class Tracker:
    """Follows one attempt. Times are seconds of one monotonic clock that stands still while the run is suspended.

    Within a phase neither the fraction nor, under the same total, the units done ever fall. An update is returned by
    the call that makes it due; one that comes too soon after another is held back, until ``due``, for ``flush``.
    """

    def __init__(self) -> None:
        self._rates = RateWindow()
        self._told: Update | None = None
        self._told_at = float("-inf")
        self._pending = False
        self._known = False  # something was said about how far it is, or what it does
        self._moved_at: float | None = None
        self._message = ""
        self._phases: int | None = None
        self._restart(None)

    def _restart(self, phase: int | None) -> None:
        """A phase begins."""
        self._phase = phase
        self._reached: float | None = None  # the highest fraction
        self._current: float | None = None
        self._total: float | None = None  # of the sample that `current` came with
        self._given_total: float | None = None  # for samples without one
        self._lost = False  # it said that it cannot tell
        self._rates.clear()

    @property
    def stalled_since(self) -> float | None:
        """When progress last moved; ``None`` as long as none was reported, or the task says that it cannot tell."""
        return None if self._lost else self._moved_at

    @property
    def due(self) -> float | None:
        """When ``flush`` has something to give; ``None``: nothing is held back."""
        return self._told_at + INTERVAL if self._pending else None

    def add(self, said: Movement, now: float) -> Update | None:
        """Takes what a task said; returns what is to be told now, if anything."""
        match said:
            case Sample():
                self._take(said, now)
            case Step():
                done = (self._current or 0.0) + said.amount
                self._take(Sample(current=done, total=self._total), now)
            case Total():
                self._given_total = said.total
                if self._current is not None:
                    self._take(Sample(current=self._current, total=said.total), now)
            case Phase():
                self._begin(said.number, said.count, now)
                self._message = said.name or ""
            case Status():
                self._message = said.text
        self._known = self._pending = True
        return self.flush(now)

    def flush(self, now: float) -> Update | None:
        """What was held back, if it is due."""
        if not self._pending or now < self._told_at + INTERVAL:
            return None
        return self._tell(now)

    def final(self, *, success: bool, now: float) -> Update | None:
        """The last update of the attempt, if it differs from the one before: all of it done, if it succeeded."""
        if not self._known:
            return None
        if success and self._reached is not None:
            self._reached, self._lost = 1.0, False
            self._current = self._total if self._total is not None else self._current
            self._phase = self._phases if self._phases is not None else self._phase
        return self._tell(now)

    # --- taking -------------------------------------------------------------------------------------------------------

    def _begin(self, phase: int, count: int | None, now: float) -> None:
        self._phases = count if count is not None else self._phases
        if phase != self._phase:
            self._restart(phase)
            self._moved_at = now

    def _take(self, sample: Sample, now: float) -> None:
        if sample.phase is not None:
            self._begin(sample.phase, sample.phases, now)
        if sample.message is not None:
            self._message = sample.message
        total = _usable(sample.total) or self._given_total or None
        current = _usable(sample.current)
        fraction = _usable(sample.fraction)
        if fraction is None and current is not None and total:
            fraction = current / total
        if fraction is None and current is None:
            self._lost = True
            return
        if self._lost:
            self._lost, self._moved_at = False, now
        self._move(None if fraction is None else min(1.0, max(0.0, fraction)), current, total, now)

    def _move(self, fraction: float | None, current: float | None, total: float | None, now: float) -> None:
        moved = self._moved_at is None
        falls = current is not None and self._current is not None and current < self._current and total == self._total
        if not falls:
            moved = moved or current != self._current
            if _another_count(self._current, current):
                self._rates.clear()
            self._current, self._total = current, total
        if fraction is not None and (self._reached is None or fraction > self._reached):
            self._reached = fraction
            moved = True
        if moved:
            self._moved_at = now
        value = self._current if self._current is not None else self._reached
        if value is not None:
            self._rates.add(now, value)

    # --- telling ------------------------------------------------------------------------------------------------------

    def _tell(self, now: float) -> Update | None:
        self._pending = False
        update = Update(
            fraction=None if self._lost else self._reached,
            current=None if self._lost else self._current,
            total=None if self._lost or self._current is None else self._total,
            message=self._message,
            phase=self._phase,
            phases=self._phases,
        )
        if update == _without_speed(self._told):
            return None
        update = _with_speed(update, self._rates)
        self._told, self._told_at = update, now
        return update


def _another_count(before: float | None, after: float | None) -> bool:
    """Whether ``after`` counts other things, or in another unit, than ``before``."""
    if before is None or after is None:
        return before is not after
    return after < before


def _usable(number: float | None) -> float | None:
    """The number, if it is one that something can be done with."""
    return None if number is None or isnan(number) or number < 0 or number == float("inf") else float(number)


def _with_speed(update: Update, rates: RateWindow) -> Update:
    """The update with rate and ETA; the ETA only where it is more than a guess."""
    eta = None
    if update.fraction is not None and update.fraction >= _ETA_FROM:
        left = 1.0 - update.fraction
        if update.current is not None:
            left = (update.total or 0.0) - update.current if update.total else left * update.current / update.fraction
        eta = 0.0 if update.fraction >= 1.0 else rates.eta(max(0.0, left))
    return replace(update, rate=rates.rate, eta=eta)


def _without_speed(update: Update | None) -> Update | None:
    return None if update is None else replace(update, rate=None, eta=None)
