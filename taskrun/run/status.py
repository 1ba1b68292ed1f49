"""The exit status of a run, from the events of its tasks. Pure; DESIGN's table of statuses is the truth it follows."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from taskrun.events import TaskEnd
from taskrun.model import CancelKind, State

if TYPE_CHECKING:
    from taskrun.events import AnyEvent
    from taskrun.model import CancelReason

FAILED = 1
BUG = 3
TIMED_OUT = 124
RESOURCES = 125


class Tally:
    """Counts how the tasks of a run ended."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.failed = 0
        self.timed_out = 0
        self.ends: dict[str, TaskEnd] = {}
        self.unable = False  # taskrun could not do its own part

    def see(self, event: AnyEvent) -> None:
        """Takes note of one event."""
        if type(event) is not TaskEnd:
            return
        self.counts[event.state] = self.counts.get(event.state, 0) + 1
        self.ends[event.task] = event
        if event.allowed:
            return
        if event.state == State.FAILED.value:
            self.failed += 1
        elif event.state == State.TIMED_OUT.value:
            self.timed_out += 1

    def exit_status(self, cancelled: CancelReason | None) -> tuple[int, int | None]:
        """(exit status, signal to die of); a signal comes before everything else.

        A run that lost its reader dies of SIGPIPE, one that lost its parent of SIGTERM, as they would have without us.
        """
        if cancelled is not None:
            match cancelled.kind:
                case CancelKind.SIGNAL | CancelKind.SECOND_SIGNAL:
                    number = signal.Signals[cancelled.detail].value
                    return 128 + number, number
                case CancelKind.OUTPUT if not self.unable:
                    return 128 + signal.SIGPIPE, signal.SIGPIPE.value
                case CancelKind.PARENT:
                    return 128 + signal.SIGTERM, signal.SIGTERM.value
                case CancelKind.JOB:
                    return 128 + signal.SIGTERM, None
                case _:
                    pass
        if self.failed:
            # What taskrun itself could not do counts only where no task failed.
            return FAILED, None
        if self.unable or (cancelled is not None and cancelled.kind in {CancelKind.HOST, CancelKind.OUTPUT}):
            return RESOURCES, None
        if self.timed_out or (cancelled is not None and cancelled.kind is CancelKind.DEADLINE):
            return TIMED_OUT, None
        return 0, None


def of_the_task(end: TaskEnd | None, status: int) -> int:
    """What ``--exit-code task`` hands on: the code of the one task, 128+n for a signal, 124 for a clock.

    Args:
        end: How the task settled.
        status: Of the run; it stands where the task came to no end of its own, or taskrun could not do its part.
    """
    match None if end is None else end.state:
        case State.TIMED_OUT.value:
            return TIMED_OUT
        case State.SUCCEEDED.value:
            assert end is not None
            return end.exit_code or (status if status == RESOURCES else 0)
        case State.FAILED.value:
            assert end is not None
            # A task may also fail though its process exited 0: it left others behind, or returned no result.
            return end.exit_code or (FAILED if end.signal is None else 128 + end.signal)
        case _:
            return status
