"""Slots and named limits: which of the ready tasks goes next. It knows ranks and demands, nothing of tasks or states.

Ready tasks of one demand (the same slots, the same amounts of the same limits) wait in one heap, since only its best
can be next; a demand that is short of a limit is parked with that limit until there is enough of it. So the cost of a
start grows with the logarithm of the ready tasks, and with the number of different demands on the limits that it
takes from (a few, as they are written by hand), never with the number of tasks that wait.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from taskrun.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.config.project import TaskSpec

OVERTAKEN_AT_MOST = 8
"""So many starts may take from the limits of the demand that has waited longest for one of them; then its limits are
kept for it until it starts.
"""

_TERMINAL = "<terminal>"  # the implicit limit of interactive tasks; no name in a file can have this form
_POOL = "<pool {}>"  # likewise, of each pool
_FIRST = -1  # before every rank


class Demand:
    """What one attempt takes, all at once, and the ready tasks that take just that."""

    __slots__ = ("kept", "limits", "number", "overtaken", "ready", "short_of", "slots")

    def __init__(self, number: int, slots: int, limits: dict[str, int]) -> None:
        self.number = number
        self.slots = slots
        self.limits = limits
        self.ready: list[int] = []  # ranks, a heap
        self.short_of: str | None = None  # the limit with which it is parked
        self.overtaken = 0  # starts that took from its limits while it was the one that had waited longest
        self.kept = False  # its limits are kept for it


class Capacity:
    """What is free, and who is next.

    Args:
        slots: Attempts of one slot that may run at once.
        limits: Named limits.
        pools: Workers of each pool: so many of its tasks run at once.
    """

    def __init__(self, slots: int, limits: dict[str, int], pools: dict[str, int] | None = None) -> None:
        self._slots = slots
        self._free_slots = slots
        self._limits = {**limits, _TERMINAL: 1}
        for name, size in (pools or {}).items():
            self._limits[_POOL.format(name)] = size
        self._free = dict(self._limits)
        self._kept: dict[str, Demand] = {}
        # By limit: the demands short of it.
        self._parked: dict[str, list[Demand]] = {name: [] for name in self._limits}
        # By limit: the demands that take from it and were parked since they last started, the longest wait first.
        self._waiting: dict[str, dict[int, Demand]] = {name: {} for name in self._limits}
        self._demands: list[Demand] = []
        self._known: dict[object, Demand] = {}
        self._heads: list[tuple[int, int]] = []  # (rank, demand) of the best of each; outdated entries are passed over

    def demand(self, spec: TaskSpec) -> Demand:
        """The demand of a task's attempts.

        Raises:
            UsageError: It is above a limit, or the limit is unknown, and would never be met.
        """
        slots = self._slots if spec.slots is None else max(1, min(spec.slots, self._slots))
        key: object = (slots, spec.interactive, spec.pool)
        if spec.limits:
            key = (key, tuple(spec.limits.items()))
        demand = self._known.get(key)
        if demand is None:
            amounts = {**spec.limits, _TERMINAL: 1} if spec.interactive else spec.limits
            if spec.pool is not None:
                amounts = {**amounts, _POOL.format(spec.pool): 1}
            self._check(spec.name, amounts)
            limits = {name: amount for name, amount in amounts.items() if amount > 0}
            demand = self._known[key] = Demand(len(self._demands), slots, limits)
            self._demands.append(demand)
        return demand

    def _check(self, task: str, amounts: dict[str, int]) -> None:
        for name, amount in amounts.items():
            if name not in self._limits:
                raise UsageError(f"`{task}` takes from the limit `{name}`, which is not defined")
            if amount > self._limits[name]:
                raise UsageError(f"`{task}` takes {amount} of the limit `{name}`, which is {self._limits[name]}")

    def add(self, demand: Demand, rank: int) -> None:
        """A task of this demand and rank (the lower, the sooner; unique) is ready."""
        heappush(demand.ready, rank)
        if demand.ready[0] == rank:
            self._offer(demand)

    def take(self) -> int | None:
        """Takes what the next task needs and returns its rank; ``None``: nothing can start now.

        One short of a limit is passed over, one short of slots is not: then all slots would trickle away to small
        tasks while a big one waits.
        """
        heads = self._heads
        while heads and self._free_slots:
            place, number = heads[0]
            demand = self._demands[number]
            if demand.short_of is not None or not demand.ready or place != self._place(demand):
                heappop(heads)
            elif (short_of := self._short_of(demand)) is not None:
                heappop(heads)
                self._park(demand, short_of)
            elif demand.slots > self._free_slots:
                return None
            else:
                heappop(heads)
                return self._start(demand)
        return None

    def give_back(self, demand: Demand) -> None:
        """An attempt of this demand has ended."""
        self._free_slots += demand.slots
        for name, amount in demand.limits.items():
            self._free[name] += amount
            self._unpark(name)

    def sift(self, stays: Callable[[int], bool]) -> None:
        """Forgets the ready tasks whose rank does not stay."""
        self._heads.clear()
        for demand in self._demands:
            demand.ready = [rank for rank in demand.ready if stays(rank)]
            heapify(demand.ready)
            if not demand.ready:
                self._stop_waiting(demand)
            self._offer(demand)

    def _start(self, demand: Demand) -> int:
        self._free_slots -= demand.slots
        if demand.limits:
            for name, amount in demand.limits.items():
                self._free[name] -= amount
            self._stop_waiting(demand)
            self._count_overtaken(demand)
        rank = heappop(demand.ready)
        self._offer(demand)
        return rank

    def _place(self, demand: Demand) -> int:
        return _FIRST if demand.kept else demand.ready[0]

    def _offer(self, demand: Demand) -> None:
        if demand.ready and demand.short_of is None:
            heappush(self._heads, (self._place(demand), demand.number))

    def _short_of(self, demand: Demand) -> str | None:
        for name in demand.limits:
            if not self._is_enough(name, demand):
                return name
        return None

    def _is_enough(self, name: str, demand: Demand) -> bool:
        return self._free[name] >= demand.limits[name] and self._kept.get(name, demand) is demand

    def _park(self, demand: Demand, name: str) -> None:
        demand.short_of = name
        self._parked[name].append(demand)
        for limit in demand.limits:
            self._waiting[limit].setdefault(demand.number, demand)

    def _unpark(self, name: str) -> None:
        """Brings back into the running whoever has enough of this limit now."""
        still_short = []
        for demand in self._parked[name]:
            if self._is_enough(name, demand):
                demand.short_of = None
                self._offer(demand)
            else:
                still_short.append(demand)
        self._parked[name] = still_short

    # --- nobody waits for ever ------------------------------------------------------------------------------------

    def _count_overtaken(self, starting: Demand) -> None:
        """A start took from limits; whoever has waited longest for one, and has had enough of it, gets its own kept."""
        overtaken = {}
        for name in starting.limits:
            for number, demand in self._waiting[name].items():
                overtaken[number] = demand
                break
        for demand in overtaken.values():
            demand.overtaken += 1
            if demand.overtaken >= OVERTAKEN_AT_MOST:
                self._keep(demand)

    def _keep(self, demand: Demand) -> None:
        """Keeps all limits of a demand for it, unless one is kept for another: two would wait for each other."""
        if not demand.kept and self._kept.keys().isdisjoint(demand.limits):
            demand.kept = True
            self._kept.update(dict.fromkeys(demand.limits, demand))

    def _stop_waiting(self, demand: Demand) -> None:
        """A demand starts, or has nothing to start any more: its limits are everyone's again."""
        demand.overtaken = 0
        was_kept, demand.kept = demand.kept, False
        for name in demand.limits:
            self._waiting[name].pop(demand.number, None)
            if was_kept:
                del self._kept[name]
        if was_kept:
            for name in demand.limits:
                self._unpark(name)
