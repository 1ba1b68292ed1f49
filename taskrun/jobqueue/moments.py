"""Reads the moments that people write: a date and time, or a time of the day. It knows local time and the clock."""

from __future__ import annotations

import datetime as dt

_HELP = "as in 2026-12-24T18:00, 2026-12-24T18:00Z, or 18:00 for the next one"


def read_moment(text: str, now: float | None = None) -> float:
    """Reads ISO 8601 with or without a zone (local time then), or a time, which is its next one in local time.

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
        if "-" not in written and ":" in written and len(written) <= len("23:59:59"):
            return _next(dt.time.fromisoformat(written), now)
        if ":" in written or "T" in written:  # a date alone may be a number of seconds, and midnight is seldom meant
            return dt.datetime.fromisoformat(written).timestamp()
    except (ValueError, OverflowError, OSError):
        pass
    raise ValueError(f"{text!r} is no time: {_HELP}")


def _next(time: dt.time, now: float | None) -> float:
    moment = dt.datetime.now() if now is None else dt.datetime.fromtimestamp(now)  # noqa: DTZ005, DTZ006 - local time
    due = dt.datetime.combine(moment.date(), time)
    if due <= moment:
        due = dt.datetime.combine(moment.date() + dt.timedelta(days=1), time)
    return due.timestamp()
