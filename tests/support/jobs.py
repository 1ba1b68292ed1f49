"""The queue of a temporary project: a test stores jobs, waits for what becomes of them, and says what it expects."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from support.runs import wait_until

from taskrun.jobqueue.sqlite import SqliteQueue
from taskrun.jobqueue.values import JobRecord, JobState, NewJob

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.project import ProjectDir


class Jobs:
    """Jobs of a project's own queue."""

    def __init__(self, project: ProjectDir) -> None:
        self.project = project
        (project.path / ".taskrun").mkdir(exist_ok=True)
        self.engine = SqliteQueue(str(project.path / ".taskrun" / "queue.db"))
        self._admin = self.engine.admin()

    def add(self, task: str, /, *, job: dict[str, Any] | None = None, **args: Any) -> int:
        """Stores one and returns its id; ``job`` has what else a ``NewJob`` has."""
        return self.engine.enqueue([NewJob(task=task, args=args, **(job or {}))])[0].id

    def add_many(self, *tasks: str) -> list[int]:
        """Stores one of each, in one transaction."""
        return [stored.id for stored in self.engine.enqueue([NewJob(task=task) for task in tasks])]

    def show(self, job: int) -> JobRecord:
        """All that is known of one."""
        record = self._admin.show(job)
        assert record is not None
        return record

    def state(self, job: int) -> str:
        """Where one stands."""
        return self.show(job).state.value

    def states(self) -> dict[int, str]:
        """Where all stand."""
        return {record.id: record.state.value for record in self._admin.find(limit=10_000)}

    def result(self, job: int) -> Any:
        """What its task returned."""
        content = self.show(job).result
        return None if content is None else json.loads(content)

    def cancel(self, job: int) -> None:
        """Cancels one."""
        self._admin.cancel(job)

    def wait(self, job: int, state: JobState | str) -> JobRecord:
        """Waits until it stands there."""
        wait_until(lambda: self.state(job) == state, f"job {job} is {state}")
        return self.show(job)


@contextlib.contextmanager
def jobs_of(project: ProjectDir) -> Iterator[Jobs]:
    """The queue of a project, closed at the end."""
    jobs = Jobs(project)
    try:
        yield jobs
    finally:
        jobs.engine.close()
