"""The plan of a run: where each task stands, what may start, and what an outcome changes. Pure, and told everything.

A task settles exactly once. Its driver calls ``begin``, then starts what ``start_next`` hands out, and reports back
with ``settle``, ``rule_out`` or ``withdraw``, each of which returns what has changed thereby, in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskrun.model import CancelKind, CancelReason, LookUpFailed, OnFailure, Outcome, State
from taskrun.plan.capacity import Capacity
from taskrun.plan.changes import Change, Retried, Settled, Start, StopRunning
from taskrun.plan.graph import Endings, Graph
from taskrun.plan.retry import retry_decision
from taskrun.resolve import TaskView

if TYPE_CHECKING:
    from random import Random

    from taskrun.resolve import Selection

_FAILURES = frozenset({State.FAILED, State.TIMED_OUT})
_VERBS = {State.FAILED: "failed", State.TIMED_OUT: "timed out", State.CANCELLED: "was cancelled"}


class Plan:
    """The state of a run.

    Args:
        selection: The tasks, with everything that they need and that cleans up after them.
        limits: Named limits; a demand above one is refused. ``jobs``: slots.
        on_failure: What the first failure that stands does to the rest.
        pools: How many workers each pool has: so many of its tasks run at once.
        durations: Seconds that tasks took in earlier runs, where known. ``random``: for the jitter of retries.

    Raises:
        UsageError: A task takes more of a limit than there is.
        ProjectError: A task would have to wait for itself, by way of a `finally`.
    """

    def __init__(
        self,
        selection: Selection,
        *,
        limits: dict[str, int],
        jobs: int,
        on_failure: OnFailure = OnFailure.FINISH,
        pools: dict[str, int] | None = None,
        durations: dict[str, float] | None = None,
        random: Random | None = None,
    ) -> None:
        instances = list(selection.instances.values())
        self._graph = graph = Graph(selection, durations or {})
        self._specs = [instance.spec for instance in instances]
        self._capacity = Capacity(jobs, limits, pools or {})
        self._demands = [None if instance.is_group else self._capacity.demand(instance.spec) for instance in instances]
        self._on_failure = on_failure
        self._random = random
        self._states = [State.PENDING] * len(instances)
        self._unmet = [len(needs) for needs in graph.needs]
        for cleaner, owners in graph.owners.items():
            self._unmet[cleaner] += len(owners)
        self._endings = Endings(graph) if graph.owners else None
        self._attempts = [0] * len(instances)  # handed out
        self._made = [0] * len(instances)  # carried out
        self._last: dict[int, Outcome] = {}  # of tasks that wait for a retry
        self._results: dict[int, Any] = {}
        self._settlements: dict[int, Settled] = {}  # of those that did not succeed
        self._fresh: list[int] = []  # ready since the last `newly_queued`
        self._left = len(instances)
        self._ahead: list[int] = []  # settled, and the neighbours not yet told
        self._passes = [False] * len(instances)  # settled so that dependents go on
        self._halt_reason: str | None = None  # why nothing more is started
        self._halt_cause: str | None = None  # the task because of which
        self._cancelled = False
        self._first_cause: str | None = None

    # --- what the plan says ---------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether every task has settled."""
        return not self._left

    @property
    def first_cause(self) -> str | None:
        """The first task whose failure stands; never a victim, an allowed failure or a clean-up."""
        return self._first_cause

    def order(self) -> list[str]:
        """The tasks in the order in which they start one at a time, if all goes well; without groups."""
        graph = self._graph
        return [graph.names[number] for number in graph.start_order() if not graph.groups[number]]

    def state(self, task: str) -> State:
        """Where a task stands."""
        return self._states[self._graph.numbers[task]]

    def view(self, task: str) -> TaskView:
        """What look-ups may ask of a task: for the group of a `foreach`, the results of those that succeeded."""
        number = self._graph.numbers[task]
        state = self._states[number]
        if self._graph.groups[number]:
            spec = self._specs[number]
            instances = [need for need in self._graph.needs[number] if self._specs[need] is spec]
            joined = [self._results[need] for need in instances if need in self._results]
            return TaskView(state=state.value, result=joined if spec.foreach else None)
        return TaskView(state=state.value, result=self._results.get(number))

    def counts(self) -> dict[str, int]:
        """Tasks by state, where there are any; groups are not counted."""
        counts: dict[str, int] = {}
        for state, group in zip(self._states, self._graph.groups, strict=True):
            if not group:
                counts[state.value] = counts.get(state.value, 0) + 1
        return counts

    def cleans_up(self, task: str) -> bool:
        """Whether a task is a clean-up of this plan (or only needed by one), which outlives a failure and a cancel."""
        return self._graph.numbers[task] in self._graph.owners

    # --- what the driver says -------------------------------------------------------------------------------------

    def begin(self) -> list[Change]:
        """Makes ready what needs nothing; to be called once, before anything is started."""
        changes: list[Change] = []
        for number in [number for number, unmet in enumerate(self._unmet) if not unmet]:
            if self._states[number] is State.PENDING:
                self._ripen(number, changes)
        self._propagate(changes)
        return changes

    def start_next(self) -> Start | None:
        """The next attempt that may start, with its slots and limits taken; ``None``: nothing can, for now."""
        rank = self._capacity.take()
        if rank is None:
            return None
        number = self._graph.ranked[rank]
        self._states[number] = State.RUNNING
        self._attempts[number] += 1
        return Start(task=self._graph.names[number], attempt=self._attempts[number])

    def startable(self) -> list[Start]:
        """All attempts that may start now, with their slots and limits taken."""
        starts = []
        while (start := self.start_next()) is not None:
            starts.append(start)
        return starts

    def newly_queued(self) -> list[str]:
        """The tasks that have become ready since the last call and still wait, for a slot or a limit."""
        names = self._graph.names
        queued = [names[number] for number in self._fresh if self._states[number] is State.PENDING]
        self._fresh.clear()
        return queued

    def settle(self, task: str, outcome: Outcome) -> list[Change]:
        """The running attempt of a task ended; with ``LookUpFailed`` it was never made."""
        number = self._release(task)
        if not isinstance(outcome.ending, LookUpFailed):
            self._made[number] += 1
        if outcome.state not in _FAILURES:
            changes: list[Change] = []
            self._settle(number, outcome.state, outcome.reason, changes, outcome=outcome)
            self._propagate(changes)
            return changes
        delay = self._retry_delay(number, outcome)
        if delay is None:
            return self._fail(number, outcome)
        self._states[number] = State.WAITING
        self._last[number] = outcome
        attempt = self._attempts[number]
        return [Retried(task=task, attempt=attempt, delay=delay, why=outcome.reason, outcome=outcome)]

    def rule_out(self, task: str, why: str, cause: str | None = None) -> list[Change]:
        """The attempt is not made, since the task's `when` does not hold; its dependents go on."""
        number = self._release(task)
        changes: list[Change] = []
        self._settle(number, State.SKIPPED, why, changes, cause=cause, passes=True)
        self._propagate(changes)
        return changes

    def withdraw(self, task: str) -> list[Change]:
        """The attempt is not made, since the run was stopped in the meantime."""
        number = self._release(task)
        changes: list[Change] = []
        self._end_unstarted(number, changes)
        self._propagate(changes)
        return changes

    def due(self, task: str) -> None:
        """A task's back-off is over; said too late, of a task that has settled, it is ignored."""
        number = self._graph.numbers[task]
        if self._states[number] is State.WAITING:
            self._enqueue(number)

    def cancel(self, reason: CancelReason, *, clean_up: bool = True) -> list[Change]:
        """Nothing more is started, but, with ``clean_up``, what cleans up after tasks that had started.

        Running attempts are not touched: whoever carries them stops them and settles them.
        """
        self._cancelled = True
        changes: list[Change] = []
        self._halt(str(reason), None, changes, spare_cleaners=clean_up)
        return changes

    # --- settling -------------------------------------------------------------------------------------------------

    def _release(self, task: str) -> int:
        """Gives back what a running attempt took."""
        number = self._graph.numbers[task]
        demand = self._demands[number]
        if self._states[number] is not State.RUNNING or demand is None:
            raise ValueError(f"`{task}` has no attempt under way: it is {self._states[number].value}")
        self._capacity.give_back(demand)
        return number

    def _retry_delay(self, number: int, outcome: Outcome) -> float | None:
        if self._halt_reason is not None and (self._cancelled or not self._is_spared(number)):
            return None
        retry = self._specs[number].retry
        if self._attempts[number] >= retry.attempts:
            return None
        if self._random is None:
            from random import Random

            self._random = Random()  # noqa: S311 - jitter keeps no secret
        return retry_decision(retry, outcome, self._attempts[number], self._random)

    def _fail(self, number: int, outcome: Outcome) -> list[Change]:
        """A failure stands."""
        allowed = self._specs[number].allow_failure
        changes: list[Change] = []
        self._settle(number, outcome.state, outcome.reason, changes, outcome=outcome, allowed=allowed, passes=allowed)
        self._propagate(changes)
        if allowed or number in self._graph.owners:
            return changes
        task = self._graph.names[number]
        if self._first_cause is None:
            self._first_cause = task
        if self._halt_reason is None and self._on_failure is not OnFailure.CONTINUE:
            if self._on_failure is OnFailure.STOP:
                changes.append(StopRunning(reason=CancelReason(kind=CancelKind.FAILURE, detail=task)))
            self._halt(f"{task} {_VERBS[outcome.state]}", task, changes)
        return changes

    def _halt(self, reason: str, cause: str | None, changes: list[Change], *, spare_cleaners: bool = True) -> None:
        """Settles all that has not started; what cleans up may be spared, and waits for its turn."""
        self._halt_reason, self._halt_cause = reason, cause
        for number, state in enumerate(self._states):
            if (state is State.PENDING or state is State.WAITING) and not (spare_cleaners and self._is_spared(number)):
                self._end_unstarted(number, changes)
        ranked, states = self._graph.ranked, self._states
        self._capacity.sift(lambda rank: states[ranked[rank]] is State.PENDING)
        self._propagate(changes)

    def _end_unstarted(self, number: int, changes: list[Change]) -> None:
        """Settles a task that would have started, for the first time or again, had the run not been halted."""
        reason = self._halt_reason or ""
        last = self._last.get(number)
        if last is None:
            self._settle(number, State.NOT_STARTED, reason, changes, cause=self._halt_cause)
        elif self._cancelled:
            self._settle(number, State.CANCELLED, reason, changes, outcome=last)
        else:
            allowed = self._specs[number].allow_failure
            self._settle(number, last.state, last.reason, changes, outcome=last, allowed=allowed, passes=allowed)

    def _settle(
        self,
        number: int,
        state: State,
        reason: str,
        changes: list[Change],
        *,
        cause: str | None = None,
        outcome: Outcome | None = None,
        allowed: bool = False,
        passes: bool = False,
    ) -> None:
        """Writes down a final state; ``_propagate`` then carries it to the neighbours.

        ``passes``: dependents go on as if it had succeeded.
        """
        task, attempt = self._graph.names[number], self._made[number]
        settled = Settled(
            task=task, state=state, reason=reason, cause=cause, allowed=allowed, outcome=outcome, attempt=attempt
        )
        self._states[number] = state
        self._left -= 1
        self._last.pop(number, None)
        if state is State.SUCCEEDED:
            self._passes[number] = True
            if outcome is not None:
                self._results[number] = outcome.result
        else:
            self._passes[number] = passes
            self._settlements[number] = settled
        self._ahead.append(number)
        if not self._graph.groups[number]:
            changes.append(settled)

    def _propagate(self, changes: list[Change]) -> None:
        """Tells the neighbours of what has settled, and theirs, and so on: no recursion, however long the chain."""
        graph = self._graph
        for number in self._ahead:  # grows while it is walked
            passes = self._passes[number]
            for dependent in graph.dependents[number]:
                if passes:
                    self._approach(dependent, changes)
                elif self._states[dependent] is State.PENDING:
                    self._prevent(dependent, self._settlements[number], changes)
            if self._endings is not None:
                for owner in self._endings.settled(number):
                    for cleaner in graph.cleaners[owner]:
                        self._approach(cleaner, changes)
        self._ahead.clear()

    def _approach(self, number: int, changes: list[Change]) -> None:
        """One thing less to wait for."""
        self._unmet[number] -= 1
        if not self._unmet[number] and self._states[number] is State.PENDING:
            self._ripen(number, changes)

    def _ripen(self, number: int, changes: list[Change]) -> None:
        """Nothing is left to wait for."""
        owners = self._graph.owners.get(number)
        if owners is not None and not self._is_clean_up_due(number, owners):
            self._pass_over(number, owners, changes)
        elif self._graph.groups[number]:
            self._settle(number, State.SUCCEEDED, "", changes)
        else:
            self._enqueue(number)

    def _enqueue(self, number: int) -> None:
        demand = self._demands[number]
        assert demand is not None, "groups settle by themselves"
        self._states[number] = State.PENDING
        self._capacity.add(demand, self._graph.rank[number])
        self._fresh.append(number)

    def _prevent(self, number: int, need: Settled, changes: list[Change]) -> None:
        """A dependency did not end well, so this can never start."""
        if need.state is State.NOT_STARTED:
            self._settle(number, State.NOT_STARTED, need.reason, changes, cause=need.cause)
            return
        cause = need.cause or need.task
        verb = _VERBS[self._settlements[self._graph.numbers[cause]].state]
        self._settle(number, State.SKIPPED, f"{cause} {verb}", changes, cause=cause)

    # --- clean-up -------------------------------------------------------------------------------------------------

    def _is_clean_up_due(self, number: int, owners: list[int]) -> bool:
        """Whether an owner had started; or it was wanted for its own sake, and nothing speaks against that."""
        if any(self._had_started(owner) for owner in owners):
            return True
        needed = self._graph.needed_owners.get(number, ())
        return self._graph.wanted[number] and self._halt_reason is None and all(self._passes[need] for need in needed)

    def _is_spared(self, number: int) -> bool:
        """Whether a halt leaves a task its turn: as clean-up for something that had started, or may yet turn out so.

        A cancel grants no second attempt.
        """
        owners = self._graph.owners.get(number)
        if owners is None or (self._cancelled and self._made[number] > 0):
            return False
        return self._unmet[number] > 0 or any(self._had_started(owner) for owner in owners)

    def _had_started(self, number: int) -> bool:
        """Whether an attempt at a task was made; of a group: at anything below it."""
        if not self._graph.groups[number]:
            return self._made[number] > 0
        ahead = [number]
        seen = {number}
        for other in ahead:  # grows while it is walked
            if self._made[other]:
                return True
            below = [need for need in self._graph.needs[other] if need not in seen]
            seen.update(below)
            ahead += below
        return False

    def _pass_over(self, number: int, owners: list[int], changes: list[Change]) -> None:
        """There is nothing to clean up, and nothing else to run for."""
        if self._graph.wanted[number]:
            if self._halt_reason is not None:
                self._settle(number, State.NOT_STARTED, self._halt_reason, changes, cause=self._halt_cause)
            else:
                missing = next(need for need in self._graph.needed_owners[number] if not self._passes[need])
                self._prevent(number, self._settlements[missing], changes)
            return
        # Only clean-up needs this, and will find out for itself that it has nothing to do either.
        owner = self._settlements.get(owners[0])
        if owner is not None and owner.state is State.NOT_STARTED:
            self._settle(number, State.NOT_STARTED, owner.reason, changes, cause=owner.cause, passes=True)
            return
        reason = f"{self._graph.names[owners[0]]} did not start"
        self._settle(number, State.SKIPPED, reason, changes, cause=owner.cause if owner else None, passes=True)
