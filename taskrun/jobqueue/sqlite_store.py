"""A worker's turns at the database: one transaction settles what has ended and takes what is next.

A turn without patience takes microseconds, and may be called in the thread of a trio loop: it waits for no lock, and
its commit for no disk. One with patience, and the chores, wait for both, and belong in another thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from taskrun.jobqueue import presence
from taskrun.jobqueue.carrying import Claim, Settlement, Turn
from taskrun.jobqueue.sqlite_admin import SqliteAdmin
from taskrun.jobqueue.sqlite_claims import Clerk
from taskrun.jobqueue.sqlite_file import SqliteFile
from taskrun.jobqueue.sqlite_recurring import store_recurring
from taskrun.jobqueue.ticking import Ticker
from taskrun.jobqueue.values import QueueBusy, QueueRefused

if TYPE_CHECKING:
    import random
    import sqlite3
    from collections.abc import Callable, Sequence

    from taskrun.jobqueue.values import Allowance, Recurring, Retention

_PATIENCE = 1.0  # seconds that a turn waits for a lock before it says so; the worker tries again for ever
_SWEEP = 600  # looks between two batches of old jobs, unless the last one found some


class WorkerStore:
    """One worker's connection.

    Args:
        path: Of the database.
        folder: Of locks and sockets.
        worker: This worker's name.
        allowance: What it takes, and how much at once.
        clock: Seconds since the epoch.
        chance: For back-offs.
        retention: How long settled jobs are kept; ``None``: for ever.
        recurring: Tasks whose jobs it stores.
        trouble: Told what is wrong with one of those.
    """

    def __init__(
        self,
        path: str,
        folder: str,
        worker: str,
        *,
        allowance: Allowance,
        clock: Callable[[], float],
        chance: random.Random,
        retention: Retention | None,
        recurring: Sequence[Recurring] = (),
        trouble: Callable[[str], None] = lambda _message: None,
    ) -> None:
        self._clerk = Clerk(worker, chance, allowance)
        # A power failure may undo the last commits of a worker: then these jobs run again, which is promised anyway.
        self._file = SqliteFile(path, durable=False, patience=_PATIENCE, must_stay=True)
        self._admin = SqliteAdmin(self._file, folder, clock)
        self._folder = folder
        self._worker = worker
        self._clock = clock
        self._retention = retention
        self._ticker = Ticker(recurring, trouble)
        self._news: dict[str, int] = {}  # moments of recurring tasks that are still to be looked at
        self._until_sweep = 0
        self._failed = False

    def open(self) -> None:
        """Opens the database and looks for damage."""
        self._file.check()

    def turn(self, settlements: Sequence[Settlement], held: Sequence[Claim], *, take: int, patient: bool) -> Turn:
        """Settles all or nothing, and takes up to ``take`` jobs for which there is room.

        Args:
            settlements: What has ended.
            held: The claims that the worker has, settled or not.
            take: How many; 0: none.
            patient: Waits for others' locks.

        Raises:
            QueueBusy, QueueUnwritable, QueueRefused: Nothing was settled and nothing taken, as far as one can know.
        """
        failed = self._failed
        self._file.set_patience(_PATIENCE if patient else 0.0)
        now = self._clock()
        ended = {each.id for each in settlements}
        running = [claim.task for claim in held if claim.id not in ended]
        if not settlements and not failed:
            with self._file.reading() as database:
                if not take or not self._clerk.may_take(database, running, take, now):
                    return self._look(database, Turn(), held)
        self._failed = True
        try:
            with self._file.writing() as database:
                if failed:
                    self._clerk.give_back_unknown(database, {(claim.id, claim.number) for claim in held}, now)
                settled = self._clerk.settle(database, settlements, now)
                claims = self._clerk.take(database, running, take, now) if take else []
                turn = self._look(database, Turn(claims=claims, fenced=settled.fenced), held)
        except QueueBusy:
            self._failed = failed  # it was not begun
            raise
        self._failed = False
        over, begun = [claim.task for claim in held if claim.id in ended], [claim.task for claim in claims]
        costs = self._clerk.costs
        if failed or settled.offers or costs.frees(over, begun) or costs.held_up(begun):
            presence.ring(self._folder, but=self._worker)
        return turn

    def _look(self, database: sqlite3.Connection, turn: Turn, held: Sequence[Claim]) -> Turn:
        """The turn, with how it stands afterwards."""
        due = self._clerk.next_due(database)
        return structs.replace(
            turn,
            due=None if due is None else due - self._clock(),
            cancelled=self._clerk.asked_to_stop(database) if held or turn.claims else [],
        )

    def is_drained(self) -> bool:
        """Whether nothing is ready for this worker, now or when there is room, and no retry is to come."""
        with self._file.reading() as database:
            return self._clerk.is_drained(database)

    def has_chores(self) -> bool:
        """Whether others have left something to look after; to be asked every second, and as quick as a turn.

        Raises:
            QueueRefused: The lock of this worker is gone.
        """
        if not presence.has_lock(self._folder, self._worker):
            raise QueueRefused(
                f"this worker's lock, {self._worker}.lock, was removed from {self._folder} while it was in use: "
                "others take its jobs"
            )
        self._until_sweep -= 1
        self._news = self._ticker.news(self._clock())
        if self._until_sweep < 0 or self._file.may_be_long or self._news:
            return True
        self._file.set_patience(0.0)
        return bool(self._dead())

    def chores(self) -> list[int]:
        """Looks after what is nobody's: recurring jobs, dead workers' jobs and files, old jobs, a long log.

        Returns:
            Jobs of workers that had ended; they are offered again, or are dead.
        """
        self._file.set_patience(_PATIENCE)
        dead = self._dead()
        returned: list[int] = []
        if dead:
            with self._file.writing() as database:
                for worker in dead:
                    returned += self._clerk.give_back_of_dead(database, worker, self._clock())
            presence.ring(self._folder)
        self._store_recurring()
        presence.forget_dead(self._folder)
        presence.refresh(self._folder, self._worker)
        if self._until_sweep < 0 and (self._retention is None or not self._admin.prune_some(self._retention)):
            self._until_sweep = _SWEEP
        self._file.copy_back()
        return returned

    def _store_recurring(self) -> None:
        if self._news:
            with self._file.writing() as database:
                count = store_recurring(database, self._news, self._clock())
            self._ticker.remember(self._news)
            if count:
                presence.ring(self._folder, but=self._worker)

    def _dead(self) -> list[str]:
        with self._file.reading() as database:
            others = self._clerk.others(database)
        return [worker for worker in others if not presence.is_alive(self._folder, worker)]

    def close(self) -> None:
        """Closes the connection."""
        self._file.close()
