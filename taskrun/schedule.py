"""The one trio loop of a run: starts what the plan allows, settles what ends, retries, stops; one order of events.

It decides only about time: back-offs, the deadline, how long clean-up may take. What may start is the plan's affair,
how an attempt ends the executor's. It never prints, and knows executors by their protocol only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Protocol, TypeAlias

import trio

from taskrun.config.wording import spoken
from taskrun.events import Emit, RunCancel, TaskEnd, TaskQueued, TaskRetry
from taskrun.model import Attempt, CancelKind, CancelReason, Outcome, Raised, StopRequest
from taskrun.plan import Change, Executor, Plan, Retried, RuledOut, Settled

if TYPE_CHECKING:
    from collections.abc import Iterable

_BREATH = 8  # attempts between two turns that carriers give to everything else, should the attempts give it none

Prepare: TypeAlias = Callable[[str, int], Attempt | RuledOut | Outcome]
"""Makes the attempt of a task and number; or says why it is ruled out, or how it failed before it began."""


class Timekeeper(Protocol):
    """A clock which may leave out time in which the run stood still."""

    def now(self) -> float:
        """Seconds."""
        ...

    def real(self, moment: float) -> float:
        """When, on trio's clock, that ``moment`` comes if nothing is left out until then."""
        ...


class TrioTime:
    """trio's own clock, which leaves nothing out."""

    def now(self) -> float:
        """Seconds."""
        return trio.current_time()

    def real(self, moment: float) -> float:
        """The same."""
        return moment


class Scheduler:
    """Carries a plan out. All methods belong to the thread of the trio loop, and none but ``run`` waits.

    Args:
        plan: Fresh.
        executor: Carries the attempts.
        prepare: Called when an attempt's slots and limits are taken; must not wait.
        emit: Takes the facts in their one order; must neither wait nor raise.
        cleanup: Seconds that clean-up has in all after a cancel, from when the last other task has ended.
        deadline: Seconds from the start of ``run`` after which running tasks are cancelled.
        clock: What back-off, deadline and clean-up go by; ``None``: trio's.
    """

    def __init__(
        self,
        plan: Plan,
        executor: Executor,
        prepare: Prepare,
        emit: Emit,
        *,
        cleanup: float = 2.0,
        deadline: float | None = None,
        clock: Timekeeper | None = None,
    ) -> None:
        self._plan = plan
        self._executor = executor
        self._prepare = prepare
        self._emit = emit
        self._cleanup = cleanup
        self._deadline = deadline
        self._nursery: trio.Nursery | None = None
        self._done = trio.Event()
        self._bug: BaseException | None = None
        self._booked: dict[str, Attempt] = {}  # handed to a carrier that has not had its turn yet
        self._running: dict[str, Attempt] = {}  # in the executor's hands
        self._timers = Timers(self._advance, clock or TrioTime())
        self._cancelled: CancelReason | None = None  # of the run; a failure that stops the others is none
        self._cleaning_up = False  # the time for clean-up is running
        self._carried = 0

    @property
    def cancelled(self) -> CancelReason | None:
        """Why the run was cancelled, if it was; that a failure stopped the other tasks does not count as that."""
        return self._cancelled

    async def run(self) -> None:
        """Returns when every task has settled and nothing runs any more.

        Raises:
            BaseException: What ``executor``, ``prepare`` or ``emit`` raised, as it is: a bug. All other attempts have
                been cancelled by then.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._guard(self._lead)
            nursery.cancel_scope.cancel()
        if self._bug is not None:
            raise self._bug

    def cancel(self, reason: CancelReason, signal: int | None = None, kill: bool = False) -> None:  # noqa: FBT001, FBT002 - what the second signal adds to the first
        """Stops running tasks, and starts nothing more but clean-up; with ``kill`` not even that.

        May be called again, each time with the same or a stronger reason, and before ``run``.

        Args:
            reason: Why.
            signal: Number to ask the tasks with; ``None``: each attempt's own stop signal.
            kill: At once, what cleans up too.
        """
        if self._plan.finished:
            return
        if self._cancelled is None or self._cancelled.kind <= reason.kind:
            self._cancelled = reason
        self._emit(RunCancel(reason=str(reason), killing=kill))
        self._stop_running(reason, signal, kill=kill)
        self._publish(self._plan.cancel(reason, clean_up=not kill))
        self._withdraw_booked(kill=kill)
        self._advance()

    def pause(self) -> None:
        """The run is suspended: back-off, deadline and clean-up stand still, and nothing is started."""
        self._timers.pause()

    def resume(self) -> None:
        """The run goes on."""
        self._timers.resume()
        self._advance()

    # --- attempts -------------------------------------------------------------------------------------------------

    async def _lead(self) -> None:
        """Sets everything off and waits for the end."""
        assert self._nursery is not None
        self._nursery.start_soon(self._guard, self._timers.run)
        if self._deadline is not None:
            self._timers.add(self._deadline, self._deadline_came)
        self._publish(self._plan.begin())
        self._advance()
        await self._done.wait()

    def _advance(self, *, free_hands: bool = False) -> bool:
        """Books all that may start now, and has a carrier for each; the caller, where it says so, is one of them.

        Returns:
            Whether there is something for the caller to carry.
        """
        carriers = int(free_hands)
        booked = 0
        while not self._timers.paused and (start := self._plan.start_next()) is not None:
            prepared = self._prepare(start.task, start.attempt)
            if isinstance(prepared, Attempt):
                self._booked[start.task] = prepared
                booked += 1
                if booked > carriers:
                    assert self._nursery is not None, "nothing is startable before `run` has begun"
                    self._nursery.start_soon(self._guard, self._carry)
                    carriers += 1
            elif isinstance(prepared, RuledOut):
                self._publish(self._plan.rule_out(start.task, prepared.why, prepared.cause))
            else:
                self._publish(self._plan.settle(start.task, prepared))
        for task in self._plan.newly_queued():
            self._emit(TaskQueued(task=task))
        if self._cancelled is not None and not self._cleaning_up:
            self._limit_clean_up()
        if self._plan.finished:
            self._done.set()
        return booked > 0

    async def _carry(self) -> None:
        """Carries the attempt that was booked first to its end, then the next, as long as there is one.

        It does not belong to one attempt, since trio starts its tasks in any order, and going on to the next attempt
        costs less than a new task. A withdrawn attempt leaves one carrier too many, which finds nothing and ends.
        """
        while True:
            self._carried += 1
            if self._carried % _BREATH == 0:
                await trio.lowlevel.checkpoint()  # not even attempts that never wait may keep signals waiting
            while self._timers.paused:
                await self._timers.wait_resumed()
            if not self._booked:
                return
            task = next(iter(self._booked))
            attempt = self._running[task] = self._booked.pop(task)
            outcome = await self._executor.execute(attempt, self._emit)
            del self._running[task]
            self._publish(self._plan.settle(task, outcome))
            if not self._advance(free_hands=True):
                return

    async def _guard(self, body: Callable[[], Awaitable[None]]) -> None:
        """Runs a part of the loop; the first exception out of any part becomes the run's, and ends the others."""
        try:
            await body()
        except trio.Cancelled:
            raise
        except BaseException as bug:  # noqa: BLE001 - `run` raises it, as itself and in no group
            if self._bug is None:
                self._bug = bug
            else:
                self._bug.add_note(f"and then, while the others were being cancelled: {bug!r}")
            assert self._nursery is not None
            self._nursery.cancel_scope.cancel()

    def _publish(self, changes: list[Change]) -> None:
        """Tells of what has changed, and does what follows from it."""
        for change in changes:
            if isinstance(change, Settled):
                self._emit(_task_end(change))
            elif isinstance(change, Retried):
                self._emit(_task_retry(change))
                self._timers.add(change.delay, partial(self._plan.due, change.task))
            else:
                self._emit(RunCancel(reason=str(change.reason)))
                self._stop_running(change.reason, None)
                self._withdraw_booked()

    # --- stopping -------------------------------------------------------------------------------------------------

    def _stop_running(self, reason: CancelReason, signal: int | None, *, kill: bool = False) -> None:
        grace = 0.0 if kill else None
        for task in self._exposed(self._running, kill=kill):
            asked_with = self._running[task].stop_signal if signal is None else signal
            self._executor.stop(task, StopRequest(reason=reason, signal=asked_with, grace=grace))

    def _withdraw_booked(self, *, kill: bool = False) -> None:
        """Attempts that no executor knows yet cannot be stopped; they are not made."""
        for task in self._exposed(self._booked, kill=kill):
            del self._booked[task]
            self._publish(self._plan.withdraw(task))

    def _exposed(self, tasks: Iterable[str], *, kill: bool = False) -> list[str]:
        """Those that a stop is meant for: clean-up is spared unless everything is to be killed."""
        return [task for task in tasks if kill or not self._plan.cleans_up(task)]

    def _deadline_came(self) -> None:
        if self._cancelled is None:
            assert self._deadline is not None
            self.cancel(CancelReason(kind=CancelKind.DEADLINE, detail=spoken(self._deadline)))

    def _limit_clean_up(self) -> None:
        """Once all else has ended after a cancel, what cleans up has so long in all."""
        if not self._plan.finished and not self._exposed(self._running) and not self._exposed(self._booked):
            self._cleaning_up = True
            self._timers.add(self._cleanup, self._clean_up_is_over)

    def _clean_up_is_over(self) -> None:
        assert self._cancelled is not None
        self.cancel(self._cancelled, kill=True)


class Timers:
    """Calls functions when their time has come, by a clock that can stand still.

    Args:
        then: Called after each round of them.
        clock: What they go by.
    """

    def __init__(self, then: Callable[[], object], clock: Timekeeper) -> None:
        self._then = then
        self._clock = clock
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._added = 0  # keeps those of one time in their order
        self._paused_at: float | None = None
        self._paused_for = 0.0
        self._changed = trio.Event()
        self._resumed = trio.Event()

    @property
    def paused(self) -> bool:
        """Whether the clock stands still."""
        return self._paused_at is not None

    def add(self, delay: float, action: Callable[[], None]) -> None:
        """``action`` is called in ``delay`` seconds."""
        self._added += 1
        heappush(self._heap, (self._now() + delay, self._added, action))
        self._changed.set()

    def pause(self) -> None:
        """Stops the clock; no function is called any more."""
        if self._paused_at is None:
            self._paused_at = self._clock.now()
            self._resumed = trio.Event()

    def resume(self) -> None:
        """Lets the clock go on from where it stood."""
        if self._paused_at is not None:
            self._paused_for += self._clock.now() - self._paused_at
            self._paused_at = None
            self._resumed.set()
            self._changed.set()

    async def wait_resumed(self) -> None:
        """Waits for the end of the pause."""
        await self._resumed.wait()

    async def run(self) -> None:
        """Never returns."""
        while True:
            self._changed = trio.Event()
            if self._call_due():
                self._then()
            until = self._heap[0][0] + self._paused_for if self._heap and not self.paused else float("inf")
            with trio.move_on_at(self._clock.real(until)):
                await self._changed.wait()

    def _now(self) -> float:
        return (self._clock.now() if self._paused_at is None else self._paused_at) - self._paused_for

    def _call_due(self) -> bool:
        called = False
        while self._heap and not self.paused and self._heap[0][0] <= self._now():
            heappop(self._heap)[2]()
            called = True
        return called


def _task_end(settled: Settled) -> TaskEnd:
    outcome = settled.outcome
    if outcome is None:
        return TaskEnd(
            task=settled.task,
            attempt=settled.attempt,
            state=settled.state.value,
            reason=settled.reason,
            cause=settled.cause,
        )
    return TaskEnd(
        task=settled.task,
        attempt=settled.attempt,
        state=settled.state.value,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        elapsed=outcome.elapsed,
        cpu=outcome.cpu,
        max_rss=outcome.max_rss,
        leaked=outcome.leaked,
        reason=settled.reason,
        cause=settled.cause,
        allowed=settled.allowed,
        log=outcome.log,
        result=outcome.result,
        detail=outcome.ending.traceback if isinstance(outcome.ending, Raised) else "",
    )


def _task_retry(retried: Retried) -> TaskRetry:
    outcome = retried.outcome
    return TaskRetry(
        task=retried.task,
        attempt=retried.attempt,
        why=retried.why,
        delay=retried.delay,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        elapsed=outcome.elapsed,
        leaked=outcome.leaked,
        log=outcome.log,
    )
