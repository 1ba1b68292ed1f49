"""The end of a run: of its host, and its last event and exit status, made after all of the record is on disk."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from taskrun.events import RunEnd
from taskrun.run.options import RunResult
from taskrun.run.status import BUG, of_the_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.link import Link
    from taskrun.model import CancelReason, Leftover
    from taskrun.plan import Plan
    from taskrun.run.facts import Facts
    from taskrun.run.recording import Recording
    from taskrun.run.status import Tally


class Closing:
    """How one run ends.

    Args:
        elapsed: Seconds that the run has taken so far.
        handed_on: The task whose exit status is to be the run's; ``None``: none is.

    Attributes:
        told: The last event has been.
    """

    def __init__(
        self,
        facts: Facts,
        recording: Recording,
        tally: Tally,
        plan: Plan,
        *,
        elapsed: Callable[[], float],
        handed_on: str | None,
    ) -> None:
        self.told = False
        self._facts = facts
        self._recording = recording
        self._tally = tally
        self._plan = plan
        self._elapsed = elapsed
        self._handed_on = handed_on

    def result(self, reason: CancelReason | None) -> RunResult:
        """The exit status as it stands: what could not be recorded, or shown, counts up to the last moment."""
        if self._recording.failed:
            self._tally.unable = True
        status, number = self._tally.exit_status(reason)
        if number is None and self._handed_on is not None:
            status = of_the_task(self._tally.ends.get(self._handed_on), status)
        return RunResult(exit_status=status, signal=number)

    def tell(self, reason: CancelReason | None, leaked: tuple[Leftover, ...]) -> None:
        """Tells that the run has ended, and how."""
        self._emit(lambda: self._end(self.result(reason), leaked))

    def tell_bug(self) -> None:
        """Tells that a bug of ours has ended it."""
        self._emit(lambda: self._end(RunResult(exit_status=BUG), ()))

    def _emit(self, how: Callable[[], RunEnd]) -> None:
        end = self._recording.seal(how)
        self.told = True
        self._facts.emit(end)

    def _end(self, result: RunResult, leaked: tuple[Leftover, ...]) -> RunEnd:
        return RunEnd(
            exit_status=result.exit_status,
            signal=result.signal,
            elapsed=self._elapsed(),
            counts=self._tally.counts,
            first_cause=self._plan.first_cause,
            leaked=leaked,
            folder=self._recording.path,
        )


def try_each(*steps: Callable[[], object]) -> None:
    """Takes every step, as far as a bug lets it; the first that failed is told by whoever asks for this."""
    for step in steps:
        with contextlib.suppress(Exception):
            step()


async def shut_down(link: Link, facts: Facts) -> tuple[Leftover, ...]:
    """Ends the host once all tasks have settled; returns what had to be killed of theirs."""
    left = await link.shutdown()
    if not link.lost.is_set():
        return left
    # Nobody knows what was left by tasks and what was the host's own, and no task is the worse for it.
    killed = f"; {len(left)} of its processes had to be killed" if left else ""
    facts.warn("host", f"the process supervising the tasks was lost at their end ({link.why}){killed}")
    return ()
