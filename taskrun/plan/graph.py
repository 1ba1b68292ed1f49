"""The selected tasks as numbers: who needs whom, who cleans up after whom, and in which order they go. Never changes.

A task is its place in the selection, so that the state machine works on lists. Nothing here recurses: a chain may be
as long as the plan.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from taskrun.model import Diagnostic, ProjectError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from taskrun.resolve import Selection

_UNKNOWN = 1.0  # seconds that a task is taken to last of which no earlier run is known


class Graph:
    """Dependencies, clean-up and ranks of a selection.

    Attributes:
        names: By number.
        numbers: By name.
        groups: Whether a task is a group.
        needs: Numbers of each task's dependencies.
        dependents: The other way round.
        owners: Of each task that cleans up: the tasks after which it does. A task that only clean-up needs has the
            owners of what needs it.
        cleaners: The other way round.
        needed_owners: The owners that a task which cleans up needs as well; they are left out of its needs.
        wanted: Whether a task would also run without any clean-up: it was asked for, or something that was needs it.
        rank: Place of each task by the longest path still to go, then by the file: the lower, the sooner.
        ranked: The other way round.

    Raises:
        ProjectError: A task would have to wait for itself, by way of a `finally`.
    """

    def __init__(self, selection: Selection, durations: dict[str, float]) -> None:
        instances = list(selection.instances.values())
        self.names = [instance.name for instance in instances]
        self.numbers = {name: number for number, name in enumerate(self.names)}
        numbers = self.numbers
        self.groups = [instance.is_group for instance in instances]
        self.needs = [_distinct([numbers[name] for name in instance.needs]) for instance in instances]
        self.dependents: list[list[int]] = [[] for _ in instances]
        for number, needs in enumerate(self.needs):
            for need in needs:
                self.dependents[need].append(number)
        self.rank, self.ranked = self._ranks(durations)
        self.wanted = [True] * len(instances)
        self.owners: dict[int, list[int]] = {}
        for owner, instance in enumerate(instances):
            for name in instance.finally_:
                self.owners.setdefault(numbers[name], []).append(owner)
        self.needed_owners: dict[int, list[int]] = {}
        if self.owners:
            self._spread_owners([numbers[name] for name in selection.requested])
            self._drop_needs_on_owners()
        self.cleaners: dict[int, list[int]] = {}
        for cleaner, owners in self.owners.items():
            for owner in owners:
                self.cleaners.setdefault(owner, []).append(cleaner)
        if self.owners:
            self._check_circles()

    def start_order(self) -> list[int]:
        """Every task, groups too, in the order of starting one at a time when all goes well."""
        unmet = [len(needs) for needs in self.needs]
        for cleaner, owners in self.owners.items():
            unmet[cleaner] += len(owners)
        ready = [self.rank[number] for number, count in enumerate(unmet) if not count]
        heapify(ready)
        endings = Endings(self) if self.owners else None
        order = []
        while ready:
            number = self.ranked[heappop(ready)]
            order.append(number)
            freed = list(self.dependents[number])
            if endings:
                freed += [cleaner for owner in endings.settled(number) for cleaner in self.cleaners[owner]]
            for other in freed:
                unmet[other] -= 1
                if not unmet[other]:
                    heappush(ready, self.rank[other])
        return order

    def _ranks(self, durations: dict[str, float]) -> tuple[list[int], list[int]]:
        """Rank by number, and number by rank."""
        path = [
            0.0 if group else durations.get(name, _UNKNOWN) for name, group in zip(self.names, self.groups, strict=True)
        ]
        for number in reversed(self._topological()):
            dependents = self.dependents[number]
            if dependents:
                path[number] += max([path[dependent] for dependent in dependents])
        ranked = sorted(range(len(path)), key=[-length for length in path].__getitem__)  # stable: then by the file
        rank = [0] * len(path)
        for place, number in enumerate(ranked):
            rank[number] = place
        return rank, ranked

    def _topological(self) -> list[int]:
        """Dependencies before dependents, by Kahn's way."""
        unmet = [len(needs) for needs in self.needs]
        order = [number for number, count in enumerate(unmet) if not count]
        for number in order:  # grows while it is walked
            for dependent in self.dependents[number]:
                unmet[dependent] -= 1
                if not unmet[dependent]:
                    order.append(dependent)
        if len(order) < len(unmet):
            stuck = [bool(count) for count in unmet]
            raise _circle(self.names, stuck, lambda number: (need for need in self.needs[number] if stuck[need]))
        return order

    def _spread_owners(self, requested: list[int]) -> None:
        """Finds what runs for clean-up only, and gives it the owners of the clean-up that needs it."""
        self.wanted = self._needed_by(requested)
        for number in reversed(self._topological()):
            owners = self.owners.get(number)
            if owners is None:
                continue
            for need in self.needs[number]:
                if not self.wanted[need]:
                    self.owners[need] = _distinct([*self.owners.get(need, ()), *owners])

    def _drop_needs_on_owners(self) -> None:
        """What cleans up after a task waits for its end anyway, however that was, and is not what depends on it."""
        for cleaner, owners in self.owners.items():
            needed = [need for need in self.needs[cleaner] if need in owners]
            if needed:
                self.needed_owners[cleaner] = needed
                self.needs[cleaner] = [need for need in self.needs[cleaner] if need not in needed]
                for need in needed:
                    self.dependents[need].remove(cleaner)

    def _needed_by(self, roots: list[int]) -> list[bool]:
        found = [False] * len(self.names)
        ahead = list(roots)
        while ahead:
            number = ahead.pop()
            if not found[number]:
                found[number] = True
                ahead += self.needs[number]
        return found

    def _check_circles(self) -> None:
        order = self.start_order()
        if len(order) == len(self.names):
            return
        stuck = [True] * len(self.names)
        for number in order:
            stuck[number] = False
        raise _circle(self.names, stuck, lambda number: self._waits_for(number, stuck))

    def _waits_for(self, number: int, stuck: list[bool]) -> Iterator[int]:
        """The stuck tasks for which a stuck one waits: needs, and the owners of clean-up with all that needs these."""
        yield from (need for need in self.needs[number] if stuck[need])
        ahead = list(self.owners.get(number, ()))
        seen = set(ahead)
        for other in ahead:  # grows while it is walked
            if stuck[other]:
                yield other
            fresh = [dependent for dependent in self.dependents[other] if dependent not in seen]
            seen.update(fresh)
            ahead += fresh


class Endings:
    """Finds out when a task *and all that depends on it* have ended, which is when its clean-up is due.

    A group has ended when all below it has: one failed dependency settles it while others still run. Each edge is
    walked twice in all.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._below = [1 + len(needs) for needs in graph.needs]
        self._above = [1 + len(dependents) for dependents in graph.dependents]

    def settled(self, number: int) -> list[int]:
        """A task has settled; returns the tasks with clean-up that have now ended with all that depends on them."""
        graph = self._graph
        grounded = self._countdown(self._below, [number], graph.dependents)
        own = [other for other in grounded if graph.groups[other]]
        if not graph.groups[number]:
            own.append(number)
        return [other for other in self._countdown(self._above, own, graph.needs) if other in graph.cleaners]

    @staticmethod
    def _countdown(counts: list[int], ahead: list[int], edges: list[list[int]]) -> list[int]:
        """Takes one from each count ahead; those that reach zero are returned, and pass it on along their edges."""
        done = []
        for number in ahead:  # grows while it is walked
            counts[number] -= 1
            if not counts[number]:
                done.append(number)
                ahead += edges[number]
        return done


def _distinct(numbers: list[int]) -> list[int]:
    return numbers if len(set(numbers)) == len(numbers) else list(dict.fromkeys(numbers))


def _circle(names: list[str], stuck: list[bool], waits_for: Callable[[int], Iterator[int]]) -> ProjectError:
    """The mistake, with one circle among the stuck tasks drawn once."""
    path: list[int] = []
    number = stuck.index(True)
    while number not in path:
        path.append(number)
        number = next(waits_for(number), path[0])
    circle = [*path[path.index(number) :], number]
    drawn = " -> ".join(names[place] for place in circle)
    message = f"`{names[number]}` would have to wait for itself: {drawn}"
    return ProjectError((Diagnostic(code="circle", message=message, notes=("= note: `finally` counts too",)),))
