"""What a worker has room for: which of the jobs that wait may begin now, by what they cost. Pure; it knows no store."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from taskrun.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from taskrun.jobqueue.values import Allowance, Cost

_Key: TypeAlias = tuple[str, str]  # "limits" or "here", and the name
_Needs: TypeAlias = tuple[int, tuple[tuple[_Key, int], ...]]  # slots, and how much of what

_LIMITS, _HERE = "limits", "here"
_ONE_SLOT: _Needs = (1, ())


class Costs:
    """What tasks cost a worker, looked up for each job; made once.

    Raises:
        UsageError: The allowance has no slots, or a cost names a limit that the allowance does not.
    """

    def __init__(self, allowance: Allowance) -> None:
        if allowance.slots < 1:
            raise UsageError(f"a worker needs at least one slot, not {allowance.slots}")
        self.slots = allowance.slots
        self.free: dict[_Key, int] = {(_LIMITS, name): most for name, most in allowance.limits.items()}
        self.free |= {(_HERE, name): most for name, most in allowance.here.items()}
        self._needs: dict[str, _Needs] | None = None
        if allowance.tasks is not None:
            needs = {task: self._needs_of(task, cost) for task, cost in allowance.tasks.items()}
            self._needs = {task: found for task, found in needs.items() if found is not None}
        self.shares_limits = any(key[0] == _LIMITS for _, needs in (self._needs or {}).values() for key, _ in needs)

    def _needs_of(self, task: str, cost: Cost) -> _Needs | None:
        """More than there is becomes all there is; where there is nothing, such jobs are not taken."""
        needs: list[tuple[_Key, int]] = []
        for kind, costs in ((_LIMITS, cost.limits), (_HERE, cost.here)):
            for name, much in costs.items():
                if (kind, name) not in self.free:
                    raise UsageError(f"task {task!r} takes of the limit {name!r}, which this worker does not know")
                needs.append(((kind, name), min(much, self.free[kind, name])))
                if much > 0 and self.free[kind, name] < 1:
                    return None
        return min(max(cost.slots, 1), self.slots), tuple(needs)

    def of(self, task: str) -> _Needs | None:
        """What a job of this task takes; ``None``: this worker does not take such jobs."""
        return _ONE_SLOT if self._needs is None else self._needs.get(task)

    def slots_of(self, tasks: Iterable[str]) -> int:
        """How many slots jobs of these tasks take together."""
        return sum((self.of(task) or _ONE_SLOT)[0] for task in tasks)

    def held_up(self, begun: Iterable[str]) -> bool:
        """Whether one of these that have begun needs several slots: others without them may have stood behind it."""
        return any((self.of(task) or _ONE_SLOT)[0] > 1 for task in begun)

    def frees(self, ended: Iterable[str], begun: Iterable[str]) -> bool:
        """Whether more of some limit is free for other workers after these have ended and those have begun."""
        if not self.shares_limits:
            return False
        change: dict[_Key, int] = {}
        for sign, tasks in ((1, ended), (-1, begun)):
            for task in tasks:
                for key, much in (self.of(task) or _ONE_SLOT)[1]:
                    change[key] = change.get(key, 0) + sign * much
        return any(much > 0 and key[0] == _LIMITS for key, much in change.items())


class Room:
    """What is free at a moment; jobs are offered to it in the order in which they are to be taken.

    One that only lacks slots closes it: what comes later would take each slot that is freed, and one that needs
    several would never get them. One that lacks something else leaves room for all that does not need the same.

    Args:
        costs: Of the worker.
        running: Tasks of the jobs that run in it.
        elsewhere: How many jobs of a task run in other workers.
    """

    def __init__(self, costs: Costs, running: Iterable[str], elsewhere: Mapping[str, int]) -> None:
        self._costs = costs
        self._slots = costs.slots
        self._free = dict(costs.free)
        for task in running:
            slots, needs = costs.of(task) or _ONE_SLOT
            self._slots -= slots
            for key, much in needs:
                self._free[key] -= much
        for task, count in elsewhere.items():
            for key, much in (costs.of(task) or _ONE_SLOT)[1]:
                if key[0] == _LIMITS:
                    self._free[key] -= much * count
        self.is_closed = self._slots < 1

    def admit(self, task: str) -> bool:
        """Takes what a job of this task costs, if it fits."""
        found = self._costs.of(task)
        if found is None or self.is_closed:
            return False
        slots, needs = found
        lacks = [key for key, much in needs if self._free[key] < much]
        if lacks:
            for key in lacks:  # what is left of it is for this one, and not for those that come later and need less
                self._free[key] = 0
            return False
        if slots > self._slots:
            self.is_closed = True
            return False
        self._slots -= slots
        for key, much in needs:
            self._free[key] -= much
        self.is_closed = self._slots < 1
        return True

    def may_admit(self, task: str) -> bool:
        """Whether a job of this task would fit, or lacks slots alone."""
        found = self._costs.of(task)
        return found is not None and all(self._free[key] >= much for key, much in found[1])
