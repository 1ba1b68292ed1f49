"""Queues for tests: engines that can be put to the contract, and workers that are led by hand, step by step."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

from support.postgres_bench import PostgresBench

from taskrun.jobqueue.carrying import Settlement
from taskrun.jobqueue.presence import Presence
from taskrun.jobqueue.sqlite import SqliteQueue
from taskrun.jobqueue.sqlite_store import WorkerStore
from taskrun.jobqueue.values import Allowance

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.jobqueue.carrying import Claim
    from taskrun.jobqueue.values import JobOutcome


class SetClock:
    """A wall clock that stands where it was put."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now
        self.watchers: list[Callable[[float], None]] = []  # told where it is put

    @property
    def now(self) -> float:
        return self._now

    @now.setter
    def now(self, moment: float) -> None:
        self._now = moment
        for watcher in self.watchers:
            watcher(moment)

    def __call__(self) -> float:
        return self.now


class SqliteWorker:
    """A worker without a loop: it does what it is told, one thing at a time."""

    def __init__(self, queue: SqliteQueue, clock=time.time, allowance=Allowance(slots=1000)) -> None:  # noqa: B008 - frozen
        path = queue._file.path
        self.presence = Presence(path + ".workers")
        self.name = self.presence.worker
        self.store = WorkerStore(
            path,
            path + ".workers",
            self.name,
            allowance=allowance,
            clock=clock,
            chance=random.Random(0),
            retention=None,
        )
        self.held: dict[int, Claim] = {}
        self._alive = True

    def take(self, count: int = 1) -> list[Claim]:
        turn = self.store.turn([], self._held(), take=count, patient=True)
        self.held.update({claim.id: claim for claim in turn.claims})
        return turn.claims

    def settle(self, job: int, outcome: JobOutcome) -> bool:
        """Whether it counted."""
        claim = self.held[job]
        settlement = Settlement(id=job, number=claim.number, outcome=outcome)
        turn = self.store.turn([settlement], self._held(), take=0, patient=True)
        del self.held[job]
        return job not in turn.fenced

    def asked_to_stop(self) -> list[int]:
        return self.store.turn([], self._held(), take=0, patient=True).cancelled

    def look_after_others(self) -> list[int]:
        return self.store.chores()

    def crash(self) -> None:
        """To everybody else it is dead: the kernel has freed its lock, its files are there."""
        if self._alive:
            self._alive = False
            self.presence.bell.close()
            os.close(self.presence.descriptor)

    def close(self) -> None:
        self.store.close()
        if self._alive:
            self._alive = False
            self.presence.leave(clean=not self.held)

    def _held(self):
        return list(self.held.values())


class SqliteBench:
    """The engine in a file.

    Attributes:
        shares_limits: Limits hold for all workers together, and not for each.
    """

    shares_limits = True

    def __init__(self, folder: str, clock=time.time) -> None:
        self.clock = clock
        self.troubles: list[str] = []
        self.path = os.path.join(folder, "queue.db")
        self._queues: list[SqliteQueue] = []
        self._workers: list[SqliteWorker] = []

    def queue(self) -> SqliteQueue:
        queue = SqliteQueue(
            self.path, clock=self.clock, chance=random.Random(0), retention=None, trouble=self.troubles.append
        )
        self._queues.append(queue)
        return queue

    def worker(self, allowance=Allowance(slots=1000)) -> SqliteWorker:  # noqa: B008 - frozen
        worker = SqliteWorker(self.queue(), self.clock, allowance)
        self._workers.append(worker)
        return worker

    def look_every(self, monkeypatch, seconds: float) -> None:
        monkeypatch.setattr("taskrun.jobqueue.serving.POLL", seconds)

    def lose_wakes(self, monkeypatch) -> None:
        monkeypatch.setattr("taskrun.jobqueue.presence.ring", lambda _folder: None)

    def close(self) -> None:
        for worker in self._workers:
            worker.close()
        for queue in self._queues:
            queue.close()


BENCHES = {"sqlite": SqliteBench, "postgres": PostgresBench}
