"""How fast something goes, over the last half minute. No clock of its own."""

from __future__ import annotations

from collections import deque

WINDOW = 30.0
_SPACING = 0.25  # closer points replace each other: at most 120 of them, however often a task reports
_FEWEST = 3  # kept beyond the window, for what reports once a minute
_SHORTEST = 0.5  # a rate over less would be noise
_ETA_AFTER = 2.0


class RateWindow:
    """Mean rate over ``WINDOW`` seconds, or over all there is if that is less.

    Simulated on noisy and on bursty work, this was nearer to the truth than a smoothed mean of the last differences.
    """

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque()

    def clear(self) -> None:
        """Forgets everything."""
        self._points.clear()

    def add(self, now: float, value: float) -> None:
        """Notes that ``value`` units were done at ``now``."""
        points = self._points
        if len(points) >= _FEWEST and now - points[-2][0] < _SPACING:
            points[-1] = (now, value)
        else:
            points.append((now, value))
        while len(points) > _FEWEST and points[1][0] <= now - WINDOW:
            points.popleft()

    @property
    def rate(self) -> float | None:
        """Units per second; ``None`` while there is too little to tell."""
        if len(self._points) < 2 or self._span < _SHORTEST:
            return None
        return (self._points[-1][1] - self._points[0][1]) / self._span

    def eta(self, left: float) -> float | None:
        """Seconds that ``left`` units will take; ``None`` while there is too little to tell, or nothing moves."""
        rate = self.rate
        if rate is None or rate <= 0 or len(self._points) < _FEWEST or self._span < _ETA_AFTER:
            return None
        return left / rate

    @property
    def _span(self) -> float:
        return self._points[-1][0] - self._points[0][0]
