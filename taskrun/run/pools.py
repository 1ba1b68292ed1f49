"""The pools that a run needs, from what the file says of them. Starts nothing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from taskrun.execute.pools import PoolPlan, Pools
from taskrun.execute.python_call import IMPORT_TIMEOUT
from taskrun.run.prepare import pool_sizes
from taskrun.run.python import template_of

if TYPE_CHECKING:
    from taskrun.config.project import PoolSpec
    from taskrun.execute.pump import Pump
    from taskrun.link import Link
    from taskrun.resolve import Selection
    from taskrun.run.setting import Setting


def make_pools(setting: Setting, selection: Selection, link: Link, outputs: Pump, jobs: int) -> Pools | None:
    """The pools of the tasks that were selected; ``None``: they have none."""
    tasks = Counter(instance.spec.pool for instance in selection.instances.values() if instance.spec.pool is not None)
    if not tasks:
        return None
    project = setting.prepared.project
    sizes = pool_sizes(project, jobs)
    return Pools(
        link,
        outputs,
        {name: _plan(setting, name, project.pools[name], min(sizes[name], count)) for name, count in tasks.items()},
    )


def make_all_pools(setting: Setting, link: Link, outputs: Pump) -> Pools:
    """All pools of the file, for whatever tasks may come; each is staffed when the first comes."""
    project = setting.prepared.project
    sizes = pool_sizes(project, setting.prepared.jobs)
    return Pools(link, outputs, {name: _plan(setting, name, spec, sizes[name]) for name, spec in project.pools.items()})


def _plan(setting: Setting, name: str, spec: PoolSpec, size: int) -> PoolPlan:
    return PoolPlan(
        size=size,
        template=template_of(setting, name),  # the inspection has imported what it can share
        env=setting.prepared.resolver.common_environment(),
        setup=spec.setup,
        max_requests=spec.max_requests,
        max_memory=spec.max_memory,
        startup_timeout=IMPORT_TIMEOUT if spec.startup_timeout is None else spec.startup_timeout,
        grace=setting.prepared.project.run.grace,
    )
