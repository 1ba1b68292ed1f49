"""What a queue worker takes of the project's tasks, and what a job of each costs it. Pure.

A job is a run of one task with what it needs, as wide as the widest of these tasks and no wider: its plan has that many
slots, so that of no named limit it ever holds more than those slots can.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

import msgspec

from taskrun.config.references import is_instance, is_pattern
from taskrun.jobqueue.values import Allowance, Cost
from taskrun.run.prepare import pool_sizes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from taskrun.config import Project
    from taskrun.config.project import TaskSpec


def allowance_of(project: Project, slots: int, only: Collection[str] | None = None) -> Allowance:
    """What a worker with so many slots takes.

    Args:
        project: Its limits are those of the machine.
        slots: Of the worker.
        only: Tasks; ``None``: all. Those that want a terminal are never taken.
    """
    pools = pool_sizes(project, slots)
    costs = {name: _cost(project, each, slots, pools) for name, each in _demands(project).items()}
    return Allowance(
        slots=slots,
        tasks={name: cost for name, cost in costs.items() if cost is not None and (only is None or name in only)},
        limits=dict(project.limits),
        here={_pool(name): size for name, size in pools.items()},
    )


def within(project: Project, cost: Cost) -> Project:
    """The project as a job sees it: its limits are what the job has taken of them."""
    return msgspec.structs.replace(project, limits=project.limits | cost.limits)


class _Demand(msgspec.Struct):
    """The most that one attempt of a task, or of one that it needs, asks for."""

    slots: int | None = 1  # None: all
    limits: dict[str, int] = {}
    pools: frozenset[str] = frozenset()
    interactive: bool = False

    def joined(self, other: _Demand) -> _Demand:
        limits = dict(self.limits)
        for name, amount in other.limits.items():
            limits[name] = max(amount, limits.get(name, 0))
        every = None in {self.slots, other.slots}
        return _Demand(
            slots=None if every else max(self.slots or 1, other.slots or 1),
            limits=limits,
            pools=self.pools | other.pools,
            interactive=self.interactive or other.interactive,
        )


def _cost(project: Project, demand: _Demand, slots: int, pools: dict[str, int]) -> Cost | None:
    if demand.interactive:
        return None
    wide = slots if demand.slots is None else min(demand.slots, slots)
    return Cost(
        slots=wide,
        limits={name: min(project.limits[name], wide * amount) for name, amount in demand.limits.items()},
        here={_pool(name): min(pools[name], wide) for name in demand.pools},
    )


def _pool(name: str) -> str:
    return f"pool {name}"


def _demands(project: Project) -> dict[str, _Demand]:
    """Of every task with what it needs; each is looked at once, and without recursion."""
    found: dict[str, _Demand] = {}
    for name in project.tasks:
        path = [(name, iter(_others(project, project.tasks[name])))]
        while path:
            task, others = path[-1]
            below = next((other for other in others if other not in found), None)
            if below is not None:
                path.append((below, iter(_others(project, project.tasks[below]))))
                continue
            path.pop()
            if task not in found:
                demand = _own(project.tasks[task])
                for other in _others(project, project.tasks[task]):
                    demand = demand.joined(found[other])
                found[task] = demand
    return found


def _own(spec: TaskSpec) -> _Demand:
    pools = frozenset() if spec.pool is None else frozenset({spec.pool})
    return _Demand(slots=spec.slots, limits=spec.limits, pools=pools, interactive=spec.interactive)


def _others(project: Project, spec: TaskSpec) -> Iterator[str]:
    """The tasks that come into a plan with this one."""
    for text in (*spec.needs, *spec.finally_):
        if text in project.tasks:
            yield text
        elif is_instance(text):
            yield text.partition("[")[0]
        elif is_pattern(text):
            yield from (name for name in fnmatch.filter(_visible(project.tasks.values()), text) if name != spec.name)


def _visible(tasks: Iterable[TaskSpec]) -> list[str]:
    return [task.name for task in tasks if not task.hidden]
