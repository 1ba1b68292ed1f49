"""The PostgreSQL engine for the contract: workers led by hand, and a server whose clock stands where it was put.

Functions of the server find ``now`` by the path in which it looks for names, so a function of that name in a schema that
comes first is its clock; nothing in the engine knows of it. Whether workers live is judged by another clock, which is
led here as well.
"""

from __future__ import annotations

import itertools
import random
import time
from typing import TYPE_CHECKING

from support.postgres_server import server

from taskrun.jobqueue.carrying import Settlement
from taskrun.jobqueue.room import Costs
from taskrun.jobqueue.values import Allowance

if TYPE_CHECKING:
    from taskrun.jobqueue.carrying import Claim
    from taskrun.jobqueue.values import JobOutcome

LIMIT = 30.0  # seconds without a heartbeat
_CLOCK = """
    CREATE SCHEMA clock;
    CREATE TABLE clock.moment (value timestamptz NOT NULL);
    INSERT INTO clock.moment VALUES (now());
    CREATE FUNCTION clock.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT value FROM clock.moment';
"""
_EMPTY = """
    TRUNCATE taskrun_job, taskrun_worker, taskrun_recurring,
        procrastinate_jobs, procrastinate_workers, procrastinate_events, procrastinate_periodic_defers
    RESTART IDENTITY
"""
_free: list[str] = []  # databases that were used and emptied
_numbers = itertools.count(1)


class Ticks:
    """A clock that nobody sets, led by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def lent() -> str:
    """The name of a database with an empty queue; skips the test where there can be none."""
    server()
    import psycopg

    from taskrun.jobqueue.postgres import PostgresQueue

    if _free:
        return _free.pop()
    name = f"bench{next(_numbers)}"
    with psycopg.connect(server().url("postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    queue = PostgresQueue(server().url(name))
    queue.admin().stats()  # makes the tables
    queue.close()
    with psycopg.connect(server().url(name), autocommit=True) as connection:
        connection.execute(_CLOCK)
    return name


def give_back(name: str) -> None:
    """Empties a database, for the next one."""
    import psycopg

    with psycopg.connect(server().url(name), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        connection.execute(_EMPTY)
    _free.append(name)


class PostgresWorker:
    """A worker without a loop: it does what it is told, one thing at a time."""

    def __init__(self, bench: PostgresBench, allowance: Allowance) -> None:
        from taskrun.jobqueue.postgres_address import address_of
        from taskrun.jobqueue.postgres_attendance import Attendance, Watch
        from taskrun.jobqueue.postgres_database import PostgresDatabase
        from taskrun.jobqueue.postgres_store import PostgresStore

        address = address_of(bench.url)
        self._bench = bench
        self.attendance = Attendance(PostgresDatabase(address), LIMIT, bench.ticks)
        self.attendance.enter()
        self.name = self.attendance.identity.name
        self.store = PostgresStore(
            PostgresDatabase(address),
            self.attendance,
            costs=Costs(allowance),
            chance=random.Random(0),
            retention=None,
            watch=Watch(LIMIT, bench.ticks),
        )
        self.held: dict[int, Claim] = {}
        self.lives = True

    def take(self, count: int = 1) -> list[Claim]:
        turn = self.store.turn([], self._held(), take=count)
        self.held.update({claim.id: claim for claim in turn.claims})
        return turn.claims

    def settle(self, job: int, outcome: JobOutcome) -> bool:
        """Whether it counted."""
        settlement = Settlement(id=job, number=self.held[job].number, outcome=outcome)
        turn = self.store.turn([settlement], self._held(), take=0)
        del self.held[job]
        return job not in turn.fenced

    def asked_to_stop(self) -> list[int]:
        return self.store.turn([], self._held(), take=0).cancelled

    def look_after_others(self) -> list[int]:
        """For somewhat longer than the limit, in which all that live say so."""
        found: list[int] = []
        for look in range(4):
            for worker in self._bench.workers if look % 2 == 0 else ():
                if worker.lives:
                    worker.attendance.beat()
            found += self.store.chores()
            self._bench.ticks.now += 0.4 * LIMIT
        return found

    def crash(self) -> None:
        """To everybody else it is dead: it says nothing any more, unless it is asked to."""
        self.lives = False
        self.store.close()  # a server has but so many connections
        self.attendance.close()

    def close(self) -> None:
        if self.lives and not self.held:
            self.attendance.leave()
        self.lives = False
        self.store.close()
        self.attendance.close()

    def _held(self):
        return list(self.held.values())


class PostgresBench:
    """The engine on a server of the tests' own; see `SqliteBench`."""

    shares_limits = False

    def __init__(self, folder: str, clock=time.time) -> None:
        self.clock = clock
        self.ticks = Ticks()
        self.troubles: list[str] = []
        self._name = lent()
        self.url = server().url(self._name)
        self.workers: list[PostgresWorker] = []
        self._queues = []
        self._clock_hand = None
        if clock is not time.time:
            self._lead(clock)

    def _lead(self, clock) -> None:
        import psycopg

        self.url = server().url(self._name, options="-csearch_path%3Dclock%2Cpublic%2Cpg_catalog")
        self._clock_hand = psycopg.connect(server().url(self._name), autocommit=True)

        def put(moment: float) -> None:
            self._clock_hand.execute("UPDATE clock.moment SET value = to_timestamp(%s)", (moment,))

        put(clock.now)
        clock.watchers.append(put)

    def queue(self):
        from taskrun.jobqueue.postgres import PostgresQueue

        queue = PostgresQueue(self.url, chance=random.Random(0), retention=None, trouble=self.troubles.append)
        self._queues.append(queue)
        return queue

    def worker(self, allowance=Allowance(slots=1000)) -> PostgresWorker:  # noqa: B008 - frozen
        worker = PostgresWorker(self, allowance)
        self.workers.append(worker)
        return worker

    def look_every(self, monkeypatch, seconds: float) -> None:
        monkeypatch.setattr("taskrun.jobqueue.serving.POLL", seconds)

    def lose_wakes(self, monkeypatch) -> None:
        monkeypatch.setattr("taskrun.jobqueue.postgres_attendance.CHANNEL", "nobody")

    def close(self) -> None:
        if self._clock_hand is not None:
            self.clock.watchers.clear()
            self._clock_hand.close()
        for worker in self.workers:
            worker.close()
        for queue in self._queues:
            queue.close()
        give_back(self._name)
