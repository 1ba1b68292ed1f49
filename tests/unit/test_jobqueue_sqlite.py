"""The SQLite file of a queue: what is refused, what an application may share, and what waits."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import sqlite3
import stat
import threading

import pytest
import trio
from support.queues import SetClock, SqliteBench

from taskrun.jobqueue import sqlite_file, sqlite_schema, sqlite_store
from taskrun.jobqueue.backoff import back_off
from taskrun.jobqueue.sqlite import SqliteQueue
from taskrun.jobqueue.values import (
    Allowance,
    Done,
    Duplicate,
    JobState,
    NewJob,
    QueueBusy,
    QueueRefused,
    QueueUnwritable,
    Stored,
)
from taskrun.model import UsageError

PATIENCE = 30.0  # seconds; only what hangs takes so long
VERSION_1 = os.path.join(os.path.dirname(os.path.dirname(__file__)), "fixtures", "jobqueue", "version-1.sql")
SAME_SCHEMA = (
    "SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info('taskrun_job') ORDER BY name",
    "SELECT name, type FROM pragma_table_info('taskrun_recurring')",
    "SELECT type, name FROM sqlite_master WHERE name LIKE 'taskrun%' ORDER BY name",
)


@pytest.fixture
def bench(tmp_path):
    made = SqliteBench(str(tmp_path), SetClock())
    yield made
    made.close()


def opened(path, **keys):
    return contextlib.closing(sqlite3.connect(path, **keys))


def made(path):
    queue = SqliteQueue(path)
    queue.enqueue([NewJob(task="t")])
    queue.close()
    return path


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_database_is_refused_and_stays_as_it_is(bench):
    with open(bench.path, "wb") as file:
        file.write(b"garbage" * 1000)
    before = digest(bench.path)

    with pytest.raises(QueueRefused, match=r"is damaged, or is no database .*nothing was changed.*\.recover"):
        bench.queue().enqueue([NewJob(task="t")])
    assert digest(bench.path) == before


def test_a_worker_refuses_a_database_that_is_damaged_inside(bench):
    queue = bench.queue()
    queue.enqueue([NewJob(task="t", args={"x": "y" * 2000})] * 50)
    queue.close()
    with open(bench.path, "r+b") as file:
        file.seek(4096 * 12)
        file.write(os.urandom(4096 * 8))
    before = digest(bench.path)

    async def handle(_job, _lease):
        raise AssertionError

    with pytest.raises(QueueRefused, match="is damaged"):
        trio.run(lambda: queue.serve(handle, allowance=Allowance(slots=1), stop=trio.Event(), drain=True))
    assert digest(bench.path) == before
    assert os.listdir(bench.path + ".workers") == []


def test_a_file_of_a_newer_version_is_refused_and_stays_as_it_is(bench):
    queue = bench.queue()
    queue.enqueue([NewJob(task="t")])
    queue.close()
    with opened(bench.path) as database:
        database.execute("UPDATE taskrun_queue SET version = 99")
        database.commit()
    before = digest(bench.path)

    with pytest.raises(QueueRefused, match="has version 99, and this taskrun knows versions up to 2"):
        queue.enqueue([NewJob(task="t")])
    assert digest(bench.path) == before


def test_a_file_of_an_older_version_is_brought_up_to_date_and_keeps_its_jobs(bench, monkeypatch):
    queue = bench.queue()
    (job,) = queue.enqueue([NewJob(task="t")])
    queue.close()
    step = ("ALTER TABLE taskrun_job ADD COLUMN colour TEXT",)
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", (*sqlite_schema.MIGRATIONS, step))
    for module in (sqlite_schema, sqlite_file):
        monkeypatch.setattr(module, "VERSION", 3)

    assert queue.admin().show(job.id).task == "t"
    with opened(bench.path) as database:
        assert database.execute("SELECT version, colour FROM taskrun_queue, taskrun_job").fetchall() == [(3, None)]


def test_a_file_of_version_1_is_brought_up_to_date_with_all_that_is_in_it(bench, tmp_path):
    """It was written by the taskrun whose queue had that version."""
    with open(VERSION_1, encoding="utf-8") as file, opened(bench.path) as old:
        old.execute("PRAGMA journal_mode = WAL")
        old.executescript(file.read())
        before = old.execute("SELECT * FROM taskrun_job ORDER BY id").fetchall()
        columns = ", ".join(row[1] for row in old.execute("PRAGMA table_info(taskrun_job)"))
    queue, worker = bench.queue(), bench.worker()

    records = {record.id: (str(record.state), record.attempt) for record in queue.admin().find()}
    assert records == {
        1: ("done", 1),
        2: ("delayed", 1),
        3: ("delayed", 0),
        4: ("dead", 1),
        5: ("running", 1),
        6: ("ready", 0),
        7: ("cancelled", 0),
    }
    with opened(bench.path) as now, opened(made(str(tmp_path / "new.db"))) as new:
        assert now.execute(f"SELECT {columns} FROM taskrun_job ORDER BY id").fetchall() == before
        assert now.execute("SELECT version FROM taskrun_queue").fetchall() == [(sqlite_schema.VERSION,)]
        for query in SAME_SCHEMA:
            assert now.execute(query).fetchall() == new.execute(query).fetchall()

    assert worker.look_after_others() == [5]
    bench.clock.now += 100
    assert [claim.id for claim in worker.take(9)] == [2, 3, 5, 6]
    assert worker.settle(2, Done(run="r1"))
    assert queue.admin().show(2).run == "r1"
    assert queue.enqueue([NewJob(task="t", unique="k"), NewJob(task="t", unique="running")]) == [
        Stored(id=8),
        Duplicate(id=5),
    ]


@pytest.mark.parametrize("kind", ["nfs4", "cifs"])
def test_a_network_file_system_is_refused(bench, monkeypatch, kind):
    monkeypatch.setattr(sqlite_file, "filesystem_of", lambda _folder: kind)

    with pytest.raises(QueueRefused, match=f"network file system \\({kind}\\)"):
        bench.queue().enqueue([NewJob(task="t")])
    assert not os.path.exists(bench.path)


def test_the_file_system_of_a_folder_is_known_or_not(tmp_path):
    assert sqlite_file.filesystem_of("/proc") == "proc"
    assert sqlite_file.filesystem_of(str(tmp_path / "none")) == ""


def test_an_sqlite_that_is_too_old_is_refused(bench, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 22, 0))

    with pytest.raises(QueueRefused, match=r"needs SQLite 3\.24"):
        bench.queue().enqueue([NewJob(task="t")])


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(QueueUnwritable, match="cannot make the folder"):
        SqliteQueue(str(tmp_path / "file" / "queue.db")).enqueue([NewJob(task="t")])


@pytest.mark.parametrize(
    "change",
    [
        "state = 'strange'",
        "state = 'running'",
        "state = 'done'",
        "attempt = 9",
        "claim = -1",
        "args = 'text'",
        "task = 7, task = ''",
        "priority = 'high'",
        "cancelling = 1",
        "after = id",
        "due_at = 1.5",
    ],
)
def test_the_schema_refuses_what_cannot_be(bench, change):
    bench.queue().enqueue([NewJob(task="t")])

    with opened(bench.path) as database, pytest.raises(sqlite3.IntegrityError):
        database.execute(f"UPDATE taskrun_job SET {change}")


def test_the_files_are_their_owners_alone(tmp_path):
    old = os.umask(0o022)
    try:
        queue = SqliteQueue(str(tmp_path / "new" / "queue.db"))
        queue.enqueue([NewJob(task="t")])
    finally:
        os.umask(old)
    modes = {name: stat.S_IMODE(os.stat(tmp_path / "new" / name).st_mode) for name in os.listdir(tmp_path / "new")}
    queue.close()

    assert stat.S_IMODE(os.stat(tmp_path / "new").st_mode) == 0o700
    assert modes == {"queue.db": 0o600, "queue.db-wal": 0o600, "queue.db-shm": 0o600}


# --- an application's own transaction ---------------------------------------------------------------------------------


def test_jobs_are_stored_in_the_transaction_of_an_application_or_not_at_all(bench):
    queue = bench.queue()
    with opened(bench.path) as application:
        application.row_factory = sqlite3.Row
        application.execute("CREATE TABLE image (name TEXT)")
        for name, keep in (("a", True), ("b", False)):
            application.execute("INSERT INTO image VALUES (?)", (name,))
            assert isinstance(queue.enqueue([NewJob(task=name)], connection=application)[0], Stored)
            (application.commit if keep else application.rollback)()
        assert [tuple(row) for row in application.execute("SELECT name FROM image")] == [("a",)]
    assert [record.task for record in queue.admin().find()] == ["a"]


def test_a_transaction_is_begun_where_the_application_has_none_and_is_its_own_to_commit(bench):
    queue = bench.queue()
    queue.enqueue([NewJob(task="first")])
    with opened(bench.path) as application:
        queue.enqueue([NewJob(task="t")], connection=application)
        assert application.in_transaction
        assert [record.task for record in queue.admin().find()] == ["first"]
        application.commit()
    assert [record.task for record in queue.admin().find()] == ["t", "first"]


def test_a_connection_with_which_it_cannot_be_one_transaction_is_refused(bench, tmp_path):
    queue = bench.queue()
    with opened(str(tmp_path / "other.db")) as other, pytest.raises(UsageError, match="only in one database"):
        queue.enqueue([NewJob(task="t")], connection=other)
    with opened(":memory:") as memory, pytest.raises(UsageError, match="a database in memory"):
        queue.enqueue([NewJob(task="t")], connection=memory)
    with opened(bench.path, isolation_level=None) as alone, pytest.raises(UsageError, match="BEGIN IMMEDIATE"):
        queue.enqueue([NewJob(task="t")], connection=alone)


def test_an_application_that_has_only_read_is_told_at_once_that_another_was_quicker(bench):
    queue = bench.queue()
    queue.enqueue([NewJob(task="t")])
    with opened(bench.path, isolation_level=None) as application:
        application.execute("BEGIN")
        application.execute("SELECT count(*) FROM taskrun_job").fetchone()
        queue.enqueue([NewJob(task="t")])
        with pytest.raises(QueueBusy):
            queue.enqueue([NewJob(task="t")], connection=application)


# --- locks ------------------------------------------------------------------------------------------------------------


def test_a_locked_database_is_waited_for_and_no_outcome_is_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_store, "_PATIENCE", 0.02)
    troubles, beats = [], 0
    queue = SqliteQueue(str(tmp_path / "queue.db"), trouble=troubles.append)
    (job,) = queue.enqueue([NewJob(task="t")])

    async def main(other):
        nonlocal beats

        async def handle(_job, _lease):
            other.execute("BEGIN IMMEDIATE")
            return Done()

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(
                    lambda: queue.serve(handle, allowance=Allowance(slots=1), stop=trio.Event(), drain=True)
                )
                while not troubles or beats < 100:
                    beats += len(troubles)  # the loop goes on meanwhile
                    await trio.sleep(0.001)
                other.execute("COMMIT")

    with opened(queue.admin()._file.path, isolation_level=None) as other:
        trio.run(main, other)
    record = queue.admin().show(job.id)
    queue.close()
    assert (record.state, record.attempt) == (JobState.DONE, 1)
    assert "is locked by another process" in troubles[0]
    assert len(troubles) == 1  # and is not told again with every try


def test_who_stores_a_job_waits_for_a_lock_and_says_so_in_the_end(bench):
    queue = bench.queue()
    queue.enqueue([NewJob(task="t")])
    queue._file.set_patience(0.05)
    with opened(bench.path, isolation_level=None, check_same_thread=False) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(QueueBusy, match="is locked by another process"):
            queue.enqueue([NewJob(task="t")])
        queue._file.set_patience(PATIENCE)
        release = threading.Timer(0.1, other.execute, ["COMMIT"])
        release.start()
        assert len(queue.enqueue([NewJob(task="t")])) == 1
        release.join()


def test_a_long_log_is_copied_into_the_database(bench, monkeypatch):
    monkeypatch.setattr(sqlite_file, "_WAL_LOOK", 3)
    monkeypatch.setattr(sqlite_file, "_WAL_LIMIT", 100_000)
    queue, sizes = bench.queue(), []
    for _ in range(40):
        queue.enqueue([NewJob(task="t", args={"x": "y" * 9000})])
        sizes.append(os.stat(bench.path + "-wal").st_size)

    assert max(sizes) < 300_000
    assert sizes.count(0) >= 2  # it begins anew each time
    assert os.stat(bench.path).st_size > 300_000


def test_the_log_stays_short_though_each_who_writes_does_so_once(bench, monkeypatch):
    monkeypatch.setattr(sqlite_file, "_WAL_LIMIT", 100_000)
    queues, sizes = [], []
    for number in range(1, 16):  # as commands do, which end without closing, or while others have the queue open
        queues += [bench.queue(), bench.queue(), bench.queue(), bench.queue()]
        queues[-4].enqueue([NewJob(task="t", args={"x": "y" * 9000})])
        queues[-3].admin().cancel(number)
        queues[-2].admin().retry(number)
        queues[-1].admin().prune()
        sizes.append(os.stat(bench.path + "-wal").st_size)

    assert max(sizes) < 300_000
    assert bench.queue().admin().stats().counts["ready"] == 15


def test_jobs_that_are_stored_are_stored_though_the_log_cannot_be_copied(bench, monkeypatch):
    def fail(_file):
        raise QueueUnwritable

    monkeypatch.setattr(sqlite_file.SqliteFile, "copy_back", fail)
    assert bench.queue().enqueue([NewJob(task="t")]) == [Stored(id=1)]


def test_a_corrupt_payload_is_a_dead_letter_at_once_with_its_bytes(tmp_path):
    queue = SqliteQueue(str(tmp_path / "queue.db"))
    (job,) = queue.enqueue([NewJob(task="t")])
    with opened(str(tmp_path / "queue.db")) as database:
        database.execute("UPDATE taskrun_job SET args = ?", (b"\xff{",))
        database.commit()

    async def handle(_job, _lease):
        raise AssertionError

    trio.run(lambda: queue.serve(handle, allowance=Allowance(slots=1), stop=trio.Event(), drain=True))
    record = queue.admin().show(job.id)
    queue.close()
    assert (record.state, record.attempt, record.payload) == (JobState.DEAD, 1, b"\xff{")
    assert "no JSON object" in record.error


def test_claims_of_a_commit_that_seemed_to_fail_are_given_back(bench, monkeypatch):
    queue, worker = bench.queue(), bench.worker()
    (job,) = queue.enqueue([NewJob(task="t", max_attempts=1)])
    take = worker.store._clerk.take

    def take_and_fail(database, *args):
        take(database, *args)
        database.execute("COMMIT")
        raise sqlite3.OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(worker.store._clerk, "take", take_and_fail)
        with pytest.raises(sqlite3.OperationalError):
            worker.take(1)
    assert queue.admin().show(job.id).state is JobState.RUNNING
    assert [claim.attempt for claim in worker.take(1)] == [1]


# --- back-off ---------------------------------------------------------------------------------------------------------


def test_back_off_is_full_jitter_under_a_cap_that_doubles():
    chance = random.Random(3)
    for attempt, cap in ((1, 5), (2, 10), (3, 20), (11, 3600), (5000, 3600)):
        waits = [back_off(attempt, chance) for _ in range(200)]
        assert 0 <= min(waits) < cap * 0.1
        assert cap * 0.9 < max(waits) <= cap
