"""Reads the moments that people write: a date and time, or a time of the day. It knows local time and the clock."""

from __future__ import annotations

import datetime as dt
import re

_HELP = "as in 2026-12-24T18:00, 2026-12-24T18:00Z, or 18:00 for the next one"
_OF_THE_DAY = re.compile(r"\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?", re.ASCII)


def read_moment(text: str, now: float | None = None) -> float:
    """Reads ISO 8601, or a time, which is its next one; both with or without a zone, which is the local one then.

    Args:
        text: What was written.
        now: Seconds since the epoch; ``None``: the clock's.

    Returns:
        Seconds since the epoch.

    Raises:
        ValueError: It is neither, in words for people.
    """
    written = text.strip().upper()
    try:
        if _OF_THE_DAY.fullmatch(written):
            return _next(dt.time.fromisoformat(written), dt.datetime.now().timestamp() if now is None else now)  # noqa: DTZ005
        if ":" in written or "T" in written:  # a date alone may be a number of seconds, and midnight is seldom meant
            return timestamp_of(dt.datetime.fromisoformat(written))
    except (ValueError, OverflowError, OSError):
        pass
    raise ValueError(f"{text!r} is no time: {_HELP}")


def timestamp_of(moment: dt.datetime) -> float:
    """Seconds since the epoch; 0 for what is earlier, of which the first days of the calendar cannot be told."""
    return moment.timestamp() if moment.year >= _FIRST_YEAR else 0.0


_FIRST_YEAR = 1970


def _next(time: dt.time, now: float) -> float:
    """The first such moment after now; where the clock is set back in between, there are two in one day."""
    today = dt.datetime.fromtimestamp(now, time.tzinfo).date()
    days = (today + dt.timedelta(days=days) for days in (-1, 0, 1, 2))
    moments = [dt.datetime.combine(day, time.replace(fold=fold)).timestamp() for day in days for fold in (0, 1)]
    return min(moment for moment in moments if moment > now)
