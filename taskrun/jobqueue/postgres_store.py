"""A worker's turns at the server: one transaction settles what has ended and takes what is next. All of it waits.

Beside that it stores jobs that recur, gives back those of dead workers, and forgets old ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.jobqueue.carrying import Claim, Settlement, Turn
from taskrun.jobqueue.postgres_admin import PostgresAdmin
from taskrun.jobqueue.postgres_attendance import Watch, bury
from taskrun.jobqueue.postgres_claims import (
    candidates,
    coming,
    give_back,
    promote,
    settle,
    stand,
    standing,
    take_each,
    without_ours,
)
from taskrun.jobqueue.postgres_recurring import tick
from taskrun.jobqueue.room import Room

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence
    from typing import Any

    from psycopg import Connection

    from taskrun.jobqueue.postgres_attendance import Attendance
    from taskrun.jobqueue.postgres_database import PostgresDatabase
    from taskrun.jobqueue.room import Costs
    from taskrun.jobqueue.ticking import Ticker
    from taskrun.jobqueue.values import Retention

_SWEEP = 600  # looks between two batches of old jobs, unless the last one found some


class PostgresStore:
    """One worker's connection.

    Args:
        database: The connection.
        attendance: Who the worker is.
        costs: Of what it takes.
        chance: For back-offs.
        retention: How long settled jobs are kept; ``None``: for ever.
        watch: Of the other workers.
        ticker: Of tasks that recur.
    """

    def __init__(
        self,
        database: PostgresDatabase,
        attendance: Attendance,
        *,
        costs: Costs,
        chance: random.Random,
        retention: Retention | None,
        watch: Watch,
        ticker: Ticker | None = None,
    ) -> None:
        self._database = database
        self._attendance = attendance
        self._costs = costs
        self._chance = chance
        self._retention = retention
        self._watch = watch
        self._ticker = ticker
        self._admin = PostgresAdmin(database, attendance.limit)
        self._until_sweep = 0
        self._failed = False

    def turn(self, settlements: Sequence[Settlement], held: Sequence[Claim], *, take: int) -> Turn:
        """Settles all or nothing, and takes up to ``take`` jobs for which there is room.

        Args:
            settlements: What has ended.
            held: The claims that the worker has, settled or not.
            take: How many; 0: none.

        Raises:
            QueueBusy, QueueUnwritable, QueueRefused: Nothing was settled and nothing taken, as far as one can know.
        """
        identity = self._attendance.identity
        failed = bool(self._failed)
        ended = {(each.id, each.number) for each in settlements}
        runs = [claim for claim in held if (claim.id, claim.number) not in ended]
        tasks = [claim.task for claim in runs]
        claims: list[Claim] = []
        fenced: list[int] = []
        chosen: list[tuple[int, str]] = []
        now = None
        if not settlements and not failed:
            with self._database.reading() as connection:
                now = standing(connection, identity.name)
                chosen = self._choose(connection, tasks, take)
        if now is None or chosen or (take and now.due is not None and now.due <= 0):
            self._failed = True
            with self._database.writing() as connection:
                if failed:
                    give_back(connection, identity.name, {(claim.id, claim.number) for claim in held})
                fenced = settle(connection, settlements, identity.name, self._chance)
                if failed and fenced:
                    fenced = without_ours(connection, fenced, settlements)
                is_due = stand(connection, identity.name) if take else None
                if is_due is not None:
                    if (is_due and promote(connection)) or now is None:  # others may be first now
                        chosen = self._choose(connection, tasks, take)
                    claims = take_each(connection, chosen, identity.name, identity.number)
                now = standing(connection, identity.name)
        self._failed = False
        return Turn(
            claims=claims,
            cancelled=now.cancelling,
            fenced=fenced,
            lost=[claim.id for claim in runs if now.running.get(claim.id) != claim.number],
            due=now.due,
        )

    def _choose(self, connection: Connection[Any], tasks: Sequence[str], most: int) -> list[tuple[int, str]]:
        # Limits are counted within the worker: to count them over all would take a lock that all wait for.
        room = Room(self._costs, tasks, {})
        chosen: list[tuple[int, str]] = []
        for job, task in candidates(connection, min(most, self._costs.slots)) if most and not room.is_closed else ():
            if room.admit(task):
                chosen.append((job, task))
            if room.is_closed or len(chosen) == most:
                break
        return chosen

    def is_drained(self) -> bool:
        """Whether nothing is ready for this worker, now or when there is room, and no retry is to come."""
        with self._database.reading() as connection:
            return not any(self._costs.of(task) for task in coming(connection))

    def chores(self) -> list[int]:
        """Looks after what others have left, and after what recurs; to be called every second.

        Returns:
            Jobs of workers that had died; they are offered again, or are dead.
        """
        returned: list[int] = []
        for worker, beats in self._watch.look(self._database, self._attendance.identity.name):
            returned += bury(self._database, worker, beats)
        if self._ticker is not None:
            tick(self._database, self._ticker)
        self._until_sweep -= 1
        if self._until_sweep < 0 and (self._retention is None or not self._admin.prune_some(self._retention)):
            self._until_sweep = _SWEEP
        return returned

    def close(self) -> None:
        """Closes the connection."""
        self._database.close()
