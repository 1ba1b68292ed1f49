"""One selection being carried out: its record, plan, executor and scheduler, and how it ends.

It shows nothing, hears no signal and owns no process: that is the affair of who has it, who may have several.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from taskrun.execute.equipment import Equipment
from taskrun.execute.local import LocalExecutor
from taskrun.model import CancelReason, Outcome, State
from taskrun.model import LookUpFailed as LookUpFailedEnding
from taskrun.plan import RuledOut
from taskrun.resolve import LookUpError
from taskrun.run.closing import Closing
from taskrun.run.facts import Facts
from taskrun.run.parts import plan_of, start_of
from taskrun.run.recording import Recording
from taskrun.run.status import Tally
from taskrun.schedule import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from taskrun.events import AnyEvent, Stamped
    from taskrun.execute.equipment import Machinery
    from taskrun.model import Attempt, Leftover
    from taskrun.resolve import Selection
    from taskrun.run.options import RunResult
    from taskrun.run.setting import Setting


class Work:
    """A run, as far as it is nobody else's.

    Args:
        setting: What was asked for.
        selection: What it comes to.
        machinery: What carries attempts out.
        jobs: Slots.
        count_output: As of ``Facts``.
        emit: What becomes of what happens to its tasks; it hands on to ``facts``.
        on_interrupt: Told when an interactive task died of the keyboard's SIGINT.

    Attributes:
        cancelled: Why it is being stopped, of several reasons the strongest.
        unheard: It was cancelled and nobody reads: its output is shown no more.

    Raises:
        ResourceError: A record can be written nowhere.
    """

    def __init__(
        self,
        setting: Setting,
        selection: Selection,
        machinery: Machinery,
        *,
        jobs: int,
        count_output: bool,
        emit: Callable[[Work, AnyEvent], None],
        on_interrupt: Callable[[], None] = lambda: None,
    ) -> None:
        self.setting = setting
        self.selection = selection
        self.cancelled: CancelReason | None = None
        self.unheard = False
        self.tally = Tally()
        self.facts = Facts(setting.run_id, self.tally, count_output=count_output)
        self._machinery = machinery
        self._jobs = jobs
        self._resolver = setting.prepared.resolver
        # What may refuse the run comes before its record, which would read as that of a run that was aborted.
        self.plan = plan_of(setting, selection, jobs)
        self.recording = Recording(setting, machinery.link, lambda clause: self.facts.warn("record", clause))
        self._resolver.recorded_in(self.recording.path)
        equipment = Equipment(machinery, folder=self.recording.folder, checkpoints=self.recording.checkpoints)
        self.executor = LocalExecutor(equipment, on_keyboard_interrupt=on_interrupt)
        self.scheduler = self._make_scheduler(emit)
        self.closing = self._make_closing()

    def _make_scheduler(self, emit: Callable[[Work, AnyEvent], None]) -> Scheduler:
        limits = self.setting.prepared.project.run
        return Scheduler(
            self.plan,
            self.executor,
            self._prepare,
            functools.partial(emit, self),
            cleanup=limits.cleanup,
            deadline=limits.deadline,
            clock=self._machinery.clock,
        )

    def _make_closing(self) -> Closing:
        clock = self._machinery.clock
        began = clock.now()
        return Closing(
            self.facts,
            self.recording,
            self.tally,
            self.plan,
            elapsed=lambda: clock.now() - began,
            handed_on=self.selection.requested[0] if self.setting.options.exit_code_task else None,
        )

    # --- from begin to end

    def begin(self, listeners: list[Callable[[Stamped], None]], warnings: Iterable[str] = ()) -> None:
        """Tells that it begins, and of what to beware; what follows is recorded, and told to the listeners."""
        self.facts.listen(self.recording.handle, listeners)
        self.facts.emit(start_of(self.setting, self.plan, self.recording, self._jobs))
        for text in (*self.recording.warnings, *warnings):
            self.facts.warn("run", text)

    @property
    def reason(self) -> CancelReason | None:
        """Why it was stopped, if it was: by somebody, or by its deadline."""
        return self.cancelled or self.scheduler.cancelled

    def cancel(self, reason: CancelReason, number: int, *, kill: bool = False) -> None:
        """Stops it by the ladder, or at once."""
        if self.cancelled is None or reason.kind > self.cancelled.kind:
            self.cancelled = reason
        self.scheduler.cancel(reason, number, kill)

    def tell_end(self, leaked: tuple[Leftover, ...]) -> None:
        """Its last event."""
        self.closing.tell(self.reason, leaked)

    def result(self) -> RunResult:
        """How it ended, as far as it is known."""
        return self.closing.result(self.reason)

    # --- what the scheduler asks

    def _prepare(self, task: str, number: int) -> Attempt | RuledOut | Outcome:
        instance = self.selection.instances[task]
        why = self._resolver.ruled_out(instance)
        if why is not None:
            return RuledOut(why=why)
        try:
            return self._resolver.attempt(instance, number, self.plan.view, self._slots(task))
        except LookUpError as error:
            ending = LookUpFailedEnding(message=str(error))
            return Outcome(state=State.FAILED, ending=ending, reason=str(error))

    def _slots(self, task: str) -> int:
        wanted = self.selection.instances[task].spec.slots
        return self._jobs if wanted is None else min(wanted, self._jobs)
