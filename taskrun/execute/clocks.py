"""Pure arithmetic of an attempt's four clocks, and the run's clock that stands still while taskrun is suspended.

Nothing here waits or signals: the attempt asks when to look next, and which clock has run out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.model import Clock

if TYPE_CHECKING:
    from taskrun.model import Clocks, Clockwork

_NEVER = float("inf")
_UNSEEN = 1.0  # seconds without a beat after which the process must have stood still


class RunClock:
    """Monotonic seconds that leave out the time during which the run was suspended.

    SIGSTOP gives no warning, and what is overdue by then is looked at before the SIGCONT: so whoever has the loop call
    ``beat`` several times a second lets the clock notice by itself, whenever it is read, that nobody could look.

    Args:
        source: The clock of trio, whose deadlines ``real`` is for; it has an origin of its own.
    """

    def __init__(self, source: Clockwork) -> None:
        self._source = source
        self._left_out = 0.0
        self._suspended_at: float | None = None
        self._beat = _NEVER

    def now(self) -> float:
        """Seconds of run time; stands still between ``suspend`` and ``resume``."""
        if self._suspended_at is not None:
            return self._suspended_at - self._left_out
        moment = self._source()
        if moment - self._beat > _UNSEEN:
            self._left_out += moment - self._beat
            self._beat = moment
        return moment - self._left_out

    def beat(self) -> None:
        """The process is running; from the first time on, it not being called means that the process is not."""
        if self._suspended_at is None:
            self._beat = self.now() + self._left_out

    def real(self, moment: float) -> float:
        """When, on the underlying clock, run time ``moment`` comes if nothing is suspended until then."""
        return moment + self._left_out

    def suspend(self) -> None:
        """Stops the clock; a second call changes nothing."""
        if self._suspended_at is None:
            self._suspended_at = self._source()

    def resume(self) -> float:
        """Lets it go on; returns how many seconds were left out."""
        if self._suspended_at is None:
            return 0.0
        moment = self._source()
        paused = moment - self._suspended_at
        self._suspended_at = None
        self._left_out += paused
        if self._beat != _NEVER:
            self._beat = moment
        return paused


class AttemptClocks:
    """When an attempt runs out of time. All moments are run time, in seconds."""

    def __init__(self, limits: Clocks, now: float) -> None:
        self._limits = limits
        self._started = now
        self._activity: float | None = None  # of the last output or progress; None: not yet any
        self._moved: float | None = None  # when progress last moved; None: none reported
        self._held_at: float | None = None
        self._unread = 0.0  # seconds since the start in which its first output could not have been seen

    @property
    def held(self) -> bool:
        """Whether its output is not being read."""
        return self._held_at is not None

    def restart(self, now: float) -> None:
        """The attempt begins only now (a Python call, after its imports)."""
        self._started = now
        self._activity = self._moved = None
        self._unread = 0.0
        if self._held_at is not None:
            self._held_at = now

    def saw_output(self, now: float) -> None:
        """The task wrote something, or reported progress or status."""
        self._activity = now

    def saw_progress(self, now: float, *, moved: bool) -> bool:
        """The task reported progress; ``moved``: further than before. Returns whether a clock begins with it."""
        self._activity = now
        begins = self._moved is None and self._limits.stall is not None
        if moved or self._moved is None:
            self._moved = now
        return begins

    def hold(self, now: float) -> None:
        """The task's output is not being read: what it does cannot be seen, so all but its timeout stand still."""
        if self._held_at is None:
            self._held_at = now

    def release(self, now: float) -> None:
        """Its output is read again."""
        if self._held_at is None:
            return
        held = now - self._held_at
        self._held_at = None
        if self._activity is None:
            self._unread += held
        else:
            self._activity = min(now, self._activity + held)
        if self._moved is not None:
            self._moved = min(now, self._moved + held)

    def time_left(self, now: float) -> float | None:
        """Seconds until the timeout of the whole attempt; ``None`` without one."""
        if self._limits.timeout is None:
            return None
        return max(0.0, self._started + self._limits.timeout - now)

    def next_deadline(self) -> float:
        """The earliest moment at which a clock could run out, ``inf`` if none can."""
        deadlines = self._deadlines()
        return min([deadline for _, deadline, _ in deadlines]) if deadlines else _NEVER

    def expired(self, now: float) -> tuple[Clock, float] | None:
        """The clock that has run out and its limit in seconds; the longest overdue first."""
        due = [(deadline, clock, limit) for clock, deadline, limit in self._deadlines() if deadline <= now]
        if not due:
            return None
        _, clock, limit = min(due, key=lambda entry: entry[0])
        return clock, limit

    def _deadlines(self) -> list[tuple[Clock, float, float]]:
        limits = self._limits
        found = []
        if limits.timeout is not None:
            found.append((Clock.TIMEOUT, self._started + limits.timeout, limits.timeout))
        if self._held_at is not None:
            return found
        if limits.start is not None and self._activity is None:
            found.append((Clock.START, self._started + self._unread + limits.start, limits.start))
        if limits.idle is not None:
            since = self._started + self._unread if self._activity is None else self._activity
            found.append((Clock.IDLE, since + limits.idle, limits.idle))
        if limits.stall is not None and self._moved is not None:
            found.append((Clock.STALL, self._moved + limits.stall, limits.stall))
        return found
