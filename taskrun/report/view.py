"""The status view that all user interfaces share: who runs, what each line says, and nothing drawn.

By itself it is ``--ui none``: outputs are shown as asked for, warnings are told, nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskrun.events import (
    DiagnosticEvent,
    JobEnd,
    PoolState,
    RunCancel,
    RunEnd,
    RunResume,
    RunStart,
    Stamped,
    TaskEnd,
    TaskMessage,
    TaskOutput,
    TaskProgress,
    TaskQueued,
    TaskRetry,
    TaskStart,
    WorkerEnd,
    WorkerStart,
    WorkerStopping,
)
from taskrun.model import State
from taskrun.report import words
from taskrun.report.protocol import Reporter
from taskrun.report.text import ink_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.model import Clockwork
    from taskrun.report.output import Outputs
    from taskrun.report.screen import Screen
    from taskrun.report.settings import Settings


class Active:
    """An attempt under way, as the views see it. Times are readings of the reporters' clock."""

    __slots__ = ("last_output", "progress", "since", "start")

    def __init__(self, start: TaskStart, now: float) -> None:
        self.start = start
        self.since = now
        self.last_output: float | None = None
        self.progress: TaskProgress | None = None


class StatusView(Reporter):
    """A reporter: knows who runs. Subclasses show it."""

    def __init__(self, screen: Screen, outputs: Outputs, settings: Settings, clock: Clockwork) -> None:
        self.screen = screen
        self.outputs = outputs
        self.settings = settings
        self.clock = clock
        self.ink = ink_for(settings, settings.status_fd)
        self.active: dict[str, Active] = {}  # the oldest first
        self.started = False
        self._actions: dict[type, Callable[[Any], None]] = {
            RunStart: self.on_run_start,
            TaskQueued: self.on_queued,
            TaskStart: self.on_start,
            TaskOutput: self.on_output,
            TaskProgress: self.on_progress,
            TaskMessage: self.on_message,
            TaskRetry: self.on_retry,
            TaskEnd: self.on_end,
            PoolState: self.on_pool,
            RunCancel: self.on_cancel,
            RunResume: self.on_resume,
            DiagnosticEvent: self.on_diagnostic,
            RunEnd: self.on_run_end,
            WorkerStart: self.on_worker_start,
            JobEnd: self.on_job_end,
            WorkerStopping: self.on_worker_stopping,
            WorkerEnd: self.on_worker_end,
        }

    # --- a reporter's methods

    def handle(self, stamped: Stamped) -> None:
        """Takes the next event."""
        event = stamped.event
        action = self._actions.get(type(event))
        if action is not None:
            action(event)

    # --- events

    def on_run_start(self, event: RunStart) -> None:
        """The run begins."""
        self.started = True
        self.outputs.begin(event.folder)

    def on_queued(self, event: TaskQueued) -> None:
        """A task waits for slots or limits."""

    def on_start(self, event: TaskStart) -> None:
        """An attempt has begun."""
        self.active[event.task] = Active(event, self.clock())

    def on_output(self, event: TaskOutput) -> None:
        """A task wrote something."""
        active = self.active.get(event.task)
        if active is not None:
            active.last_output = self.clock()
        self.outputs.output(event)

    def on_progress(self, event: TaskProgress) -> None:
        """A task said how far it is."""
        active = self.active.get(event.task)
        if active is not None:
            active.progress = event

    def on_message(self, event: TaskMessage) -> None:
        """A task sent a warning or an error of its own."""

    def on_retry(self, event: TaskRetry) -> None:
        """An attempt failed and there will be another."""
        self.active.pop(event.task, None)
        self.outputs.retry(event, self.retry_title(event))

    def on_end(self, event: TaskEnd) -> None:
        """A task has settled."""
        self.active.pop(event.task, None)
        self.outputs.end(event, self.end_title(event))

    def on_pool(self, event: PoolState) -> None:
        """A pool's workers have come, gone, or taken up work."""

    def on_cancel(self, event: RunCancel) -> None:
        """Running tasks are being stopped."""

    def on_resume(self, event: RunResume) -> None:
        """The run goes on after a pause, during which the clock stood still."""

    def on_diagnostic(self, event: DiagnosticEvent) -> None:
        """Mistakes before the run are told by whoever found them; what comes later is told here."""
        if self.started or event.diagnostic.level != "error":
            self.screen.say(words.diagnostic_line(event, self.ink))

    def on_run_end(self, event: RunEnd) -> None:
        """The run is over."""
        del event
        self.outputs.finish()

    def on_worker_start(self, event: WorkerStart) -> None:
        """A queue worker begins. Its jobs have a record each, so that paths of logs are whole ones."""
        del event
        self.started = True
        self.outputs.begin("/")

    def on_job_end(self, event: JobEnd) -> None:
        """An attempt at a job is over."""

    def on_worker_stopping(self, event: WorkerStopping) -> None:
        """The worker takes nothing new."""

    def on_worker_end(self, event: WorkerEnd) -> None:
        """The worker is over."""
        del event
        self.outputs.finish()

    # --- what a view says of an end

    def end_title(self, event: TaskEnd) -> str | None:
        """The line for a task that has settled; ``None``: none."""
        del event
        return None

    def retry_title(self, event: TaskRetry) -> str | None:
        """The line for an attempt that will be repeated; ``None``: none."""
        del event
        return None


class TellingView(StatusView):
    """What the plain and the live view have in common: a line for every end, retry, message and cancel."""

    def end_title(self, event: TaskEnd) -> str | None:
        """A line for what had begun or failed; the others would be many, and the summary names them."""
        told = event.attempt > 0 or words.failed(event)
        if not told and not (self.settings.verbose and event.state == State.SKIPPED.value and event.cause is None):
            return None
        return words.end_line(event, self.ink)

    def retry_title(self, event: TaskRetry) -> str | None:
        """A line for every retry."""
        return words.retry_line(event, self.ink)

    def on_message(self, event: TaskMessage) -> None:
        """A line for every message."""
        self.screen.say(words.message_line(event, self.ink))

    def on_cancel(self, event: RunCancel) -> None:
        """A line that says what happens, and what another Ctrl+C would do."""
        self.screen.say(words.cancel_line(event.reason, len(self.active), killing=event.killing))

    def on_job_end(self, event: JobEnd) -> None:
        """A line for a job that is not done: what became of its tasks has been said."""
        if event.outcome != "done":
            self.screen.say(words.job_line(event, self.ink))

    def on_worker_stopping(self, event: WorkerStopping) -> None:
        """A line that says what happens, and what another signal would do."""
        self.screen.say(words.stopping_line(event))

    def on_worker_end(self, event: WorkerEnd) -> None:
        """A line of totals, and before it what of the jobs' processes had to be killed."""
        super().on_worker_end(event)
        if event.leaked:
            self.screen.say(f"{self.ink.word('warn', 'leaked')}  the jobs {words.left_behind(event.leaked)}")
        self.screen.say(words.worker_line(event, self.ink))
