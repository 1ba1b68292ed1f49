"""When tasks with `every` or `cron` are due. Pure: it reads no clock, but for the rules of the local time zone."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING

from taskrun.jobqueue.values import Recurring

if TYPE_CHECKING:
    from collections.abc import Callable

    from cronsim import CronSim

    from taskrun.config import Project

_FAR = 7 * 86_400.0  # seconds: over a longer gap one looks back rather than forward


def recurring_of(project: Project) -> tuple[Recurring, ...]:
    """The tasks of a file that run again and again, in its order."""
    found = []
    for task in project.tasks.values():
        if task.every is not None:
            found.append(Recurring(task=task.name, latest=_every(task.every)))
        elif task.cron is not None:
            found.append(Recurring(task=task.name, latest=_Cron(task.cron).latest))
    return tuple(found)


def _every(seconds: float) -> Callable[[float], float]:
    """Multiples of it since the epoch, so that all workers mean the same moments."""

    def latest(moment: float) -> float:
        return moment // seconds * seconds

    return latest


class _Cron:
    """The moments of a cron expression in local time.

    Looked at every second: so it remembers the last moment and the one after it, and goes on from there.
    """

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._last = self._next = 0.0
        self._coming: CronSim | None = None

    def latest(self, moment: float) -> float:
        """The last due moment at or before a moment; seconds since the epoch."""
        if self._coming is None or not self._last <= moment < self._next + _FAR:
            self._begin(moment)
        assert self._coming is not None
        while self._next <= moment:
            self._last, self._next = self._next, next(self._coming).timestamp()
        return self._last

    def _begin(self, moment: float) -> None:
        """Looks back, and goes on forward from there: in an hour that comes twice, looking back may miss a moment."""
        from cronsim import CronSim

        backward = CronSim(self._expression, _local(moment), reverse=True)
        start = next(backward)
        self._last = start.timestamp()
        self._coming = CronSim(self._expression, start)
        self._next = next(self._coming).timestamp()


def _local(moment: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(moment), dt.UTC).astimezone(_ZONE)


class _LocalZone(dt.tzinfo):
    """The machine's time zone with its rules, which `astimezone()` alone would only give one offset of."""

    def utcoffset(self, moment: dt.datetime | None) -> dt.timedelta:
        """How far local time is ahead."""
        assert moment is not None
        wall = moment.replace(tzinfo=None)
        return wall - dt.datetime.fromtimestamp(wall.timestamp(), dt.UTC).replace(tzinfo=None)

    def dst(self, moment: dt.datetime | None) -> None:
        """Of no interest."""
        del moment

    def tzname(self, moment: dt.datetime | None) -> str:
        """What the machine calls it."""
        return time.tzname[0] if moment is None else time.strftime("%Z", time.localtime(moment.timestamp()))

    def fromutc(self, moment: dt.datetime) -> dt.datetime:
        """Local time from UTC; of an hour that comes twice it knows which one is meant."""
        utc = moment.replace(tzinfo=dt.UTC)
        return dt.datetime.fromtimestamp(utc.timestamp()).replace(tzinfo=self)  # noqa: DTZ006 - local time is meant


_ZONE = _LocalZone()
