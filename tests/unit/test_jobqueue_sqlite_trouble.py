"""What happens to a queue's files, and to a worker, from outside: nothing that was acknowledged is lost without a word."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import threading
from functools import partial

import pytest
import trio
import trio.testing
from support.queues import SetClock, SqliteBench

from taskrun.jobqueue import presence, sqlite_file, sqlite_store
from taskrun.jobqueue.sqlite import SqliteQueue
from taskrun.jobqueue.values import (
    Allowance,
    Done,
    Duplicate,
    JobState,
    NewJob,
    NoSuchJob,
    QueueRefused,
    QueueUnwritable,
    Stored,
)
from taskrun.model import UsageError

PATIENCE = 30.0  # seconds; only what hangs takes so long
ONE = Allowance(slots=1)


@pytest.fixture
def bench(tmp_path):
    made = SqliteBench(str(tmp_path / "folder"), SetClock())
    yield made
    made.close()


def opened(path, **keys):
    return contextlib.closing(sqlite3.connect(path, **keys))


async def never(_job, _lease):
    raise AssertionError


def raised(group):
    """The exceptions in a group, without the group."""
    return (
        [group] if not isinstance(group, BaseExceptionGroup) else [e for each in group.exceptions for e in raised(each)]
    )


# --- its files ---------------------------------------------------------------------------------------------------------


def remove_all(path):
    for name in os.listdir(os.path.dirname(path)):
        if not name.endswith(".workers"):
            os.unlink(os.path.join(os.path.dirname(path), name))


def remove_folder(path):
    shutil.rmtree(os.path.dirname(path))


def replace(path):
    remove_all(path)
    queue = SqliteQueue(path)
    queue.enqueue([NewJob(task="new")])
    queue.close()


@pytest.mark.parametrize("change", [remove_all, remove_folder, replace])
def test_a_worker_whose_database_is_removed_or_replaced_ends_and_who_stores_jobs_uses_the_new_one(
    bench, change, monkeypatch
):
    monkeypatch.setattr("taskrun.jobqueue.serving.POLL", 0.05)
    queue, worker = bench.queue(), SqliteQueue(bench.path)
    queue.enqueue([NewJob(task="old", delay=99)])

    async def main():
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(worker.serve, never, allowance=ONE, stop=trio.Event()))
                await trio.testing.wait_all_tasks_blocked(0.01)
                change(bench.path)

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(main)
    assert [type(error) for error in raised(caught.value)] == [QueueRefused]
    assert "was removed" in str(raised(caught.value)[0])
    (stored,) = queue.enqueue([NewJob(task="t")])
    worker.close()
    with opened(bench.path) as database:
        tasks = [row[0] for row in database.execute("SELECT task FROM taskrun_job ORDER BY id")]
        assert tasks == (["new", "t"] if change is replace else ["t"])
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert queue.admin().show(stored.id).state is JobState.READY


def test_a_database_that_is_gone_while_its_log_is_there_is_not_made_anew(bench):
    queue = bench.queue()
    queue.enqueue([NewJob(task="t")])
    os.rename(bench.path, bench.path + ".moved")

    for each in (queue, bench.queue()):
        with pytest.raises(QueueRefused, match="is gone, but its -wal and -shm are not: put it back"):
            each.enqueue([NewJob(task="t")])
    os.rename(bench.path + ".moved", bench.path)
    assert queue.enqueue([NewJob(task="t")]) == [Stored(id=2)]


def test_the_folders_that_are_made_for_a_queue_survive_a_power_failure(tmp_path, monkeypatch):
    synced = []
    sync = os.fsync
    monkeypatch.setattr("os.fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), sync(fd)))
    for name in ("one/two/queue.db", "one/two/other.db", "one/three/queue.db"):
        queue = SqliteQueue(str(tmp_path / name))
        queue.enqueue([NewJob(task="t")])
        queue.close()

    assert synced == [str(tmp_path), str(tmp_path / "one"), str(tmp_path / "one")]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused_and_nothing_is_made_beside_it(tmp_path, make):
    make(tmp_path / "queue.db")

    with pytest.raises(QueueRefused, match="is no file"):
        SqliteQueue(str(tmp_path / "queue.db")).enqueue([NewJob(task="t")])
    assert os.listdir(tmp_path) == ["queue.db"]


@pytest.mark.parametrize("statement", ["CREATE TABLE taskrun_job (x)", "CREATE TABLE taskrun_queue (x)"])
def test_tables_of_the_application_that_have_our_names_are_refused_and_stay(bench, statement):
    os.makedirs(os.path.dirname(bench.path), exist_ok=True)
    with opened(bench.path) as database:
        database.execute(statement)
        with pytest.raises(QueueRefused, match="are not as this taskrun knows them"):
            bench.queue().enqueue([NewJob(task="t")])
        assert [row[0] for row in database.execute("SELECT sql FROM sqlite_master")] == [statement]


def test_a_connection_that_is_none_to_sqlite_is_refused(bench):
    with pytest.raises(UsageError, match="is needed, not a object"):
        bench.queue().enqueue([NewJob(task="t")], connection=object())  # type: ignore[arg-type] # programs do


def test_workers_that_reach_a_database_by_different_names_know_that_each_other_live(tmp_path):
    os.symlink(tmp_path / "folder" / "queue.db", tmp_path / "link.db")
    os.symlink(tmp_path / "folder", tmp_path / "other")
    benches = [SqliteBench(str(tmp_path / "folder")) for _ in range(3)]
    benches[1].path, benches[2].path = str(tmp_path / "link.db"), str(tmp_path / "other" / "queue.db")
    benches[1].queue().enqueue([NewJob(task="t")])
    one, *others = [each.worker() for each in benches]
    one.take(1)

    assert [other.look_after_others() for other in others] == [[], []]
    for each in benches:
        each.close()
    assert sorted(os.listdir(tmp_path)) == ["folder", "link.db", "other"]


def test_a_path_that_is_too_long_and_a_folder_that_cannot_be_used_are_told(tmp_path):
    for path in (str(tmp_path / ("x" * 250)), "/".join([str(tmp_path)] + ["x" * 200] * 4 + ["queue.db"])):
        with pytest.raises(QueueUnwritable, match=r"cannot (use|be read or written|make)"):
            trio.run(partial(SqliteQueue(path).serve, never, allowance=ONE, stop=trio.Event(), drain=True))


# --- its workers' files ------------------------------------------------------------------------------------------------


def test_a_worker_whose_lock_was_removed_ends(bench):
    worker, other = bench.worker(), bench.worker()
    bench.queue().enqueue([NewJob(task="t")])
    worker.take(1)
    os.unlink(f"{bench.path}.workers/{worker.name}.lock")

    assert other.look_after_others() == [1]
    with pytest.raises(QueueRefused, match=f"this worker's lock, {worker.name}.lock, was removed"):
        worker.store.has_chores()


def test_a_workers_files_look_used_however_long_it_runs(bench):
    worker = bench.worker()
    paths = [f"{bench.path}.workers/{worker.name}.{end}" for end in ("lock", "sock")]
    for path in paths:
        os.utime(path, (0, 0))
    worker.look_after_others()

    assert all(os.stat(path).st_mtime > 0 for path in paths)


def test_a_worker_of_which_it_cannot_be_told_lives_and_who_looks_is_in_no_ones_way(tmp_path, monkeypatch):
    folder = str(tmp_path / "workers")
    dead = presence.Presence(folder)
    dead.bell.close()
    os.close(dead.descriptor)
    looking = os.open(f"{folder}/{dead.worker}.lock", os.O_RDWR)
    fcntl.flock(looking, fcntl.LOCK_SH)

    assert not presence.is_alive(folder, dead.worker)
    os.close(looking)

    def refuse(*_):
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr("os.open", refuse)
        patch.setattr("os.listdir", refuse)
        assert presence.is_alive(folder, dead.worker)
        assert presence.living(folder) == []


def test_who_has_stored_a_job_is_told_so_though_nobody_can_be_woken_and_the_log_not_be_copied(bench, monkeypatch):
    queue = bench.queue()
    bench.worker()

    def fail(*_):
        raise OSError(24, "too many open files")

    def damaged(_file):
        raise QueueRefused

    monkeypatch.setattr(presence.socket, "socket", fail)
    monkeypatch.setattr(sqlite_file.SqliteFile, "copy_back", damaged)
    assert queue.enqueue([NewJob(task="t")]) == [Stored(id=1)]


# --- an application's own transaction ------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_transaction", [True, False])
def test_of_jobs_one_of_which_is_refused_none_is_in_the_transaction_of_the_application(bench, in_transaction):
    queue = bench.queue()
    queue.enqueue([NewJob(task="t")])
    with opened(bench.path) as application:
        application.execute("CREATE TABLE image (name TEXT)")
        if in_transaction:
            application.execute("INSERT INTO image VALUES ('a')")
        with pytest.raises(NoSuchJob):
            queue.enqueue([NewJob(task="first"), NewJob(task="second", after=99)], connection=application)
        assert application.in_transaction is in_transaction
        application.commit()
        assert len(application.execute("SELECT * FROM image").fetchall()) == in_transaction
    assert [record.task for record in queue.admin().find()] == ["t"]


def test_an_application_that_reads_text_as_bytes_stores_jobs_all_the_same(bench):
    queue, worker = bench.queue(), bench.worker()
    (first,) = queue.enqueue([NewJob(task="t", unique="k")])
    worker.take(1)
    worker.settle(first.id, Done())
    with opened(bench.path) as application:
        application.text_factory = bytes
        queue.enqueue([NewJob(task="then", after=first.id)], connection=application)
        application.commit()
        assert application.execute("SELECT 'x'").fetchone() == (b"x",)
    assert [claim.task for claim in worker.take(9)] == ["then"]


# --- locks and disks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_worker_that_starts_while_another_process_holds_the_database_waits_unless_it_is_stopped(
    tmp_path, monkeypatch, is_stopped
):
    monkeypatch.setattr(sqlite_store, "_PATIENCE", 0.02)
    told, stop, was_told = [], trio.Event(), trio.Event()
    queue = SqliteQueue(str(tmp_path / "queue.db"), trouble=lambda message: (told.append(message), was_told.set()))

    async def main(application):
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(queue.serve, never, allowance=ONE, stop=stop, drain=True))
                await was_told.wait()
                stop.set() if is_stopped else application.execute("COMMIT")

    with opened(str(tmp_path / "queue.db"), isolation_level=None) as application:
        application.execute("PRAGMA journal_mode = WAL")
        application.execute("BEGIN IMMEDIATE")
        trio.run(main, application)
    assert "is locked by another process" in told[0]


def test_a_worker_that_has_nothing_and_is_stopped_ends_though_the_disk_cannot_be_read(bench, monkeypatch):
    queue, stop, told = SqliteQueue(bench.path), trio.Event(), []
    queue._trouble = lambda message: (told.append(message), stop.set())

    def fail(*_args, **_keys):
        raise QueueUnwritable("unreadable")

    monkeypatch.setattr(sqlite_store.WorkerStore, "turn", fail)

    async def main():
        with trio.fail_after(PATIENCE):
            await queue.serve(never, allowance=ONE, stop=stop)

    trio.run(main)
    assert told == ["unreadable"]


def test_a_reader_that_holds_up_the_copying_of_the_log_does_not_hold_up_writers_each_time(bench, monkeypatch):
    monkeypatch.setattr(sqlite_file, "_WAL_LOOK", 1)
    monkeypatch.setattr(sqlite_file, "_WAL_LIMIT", 1)
    monkeypatch.setattr(sqlite_file, "_WAL_WAIT", 0.01)
    queue, tries = bench.queue(), []
    queue.enqueue([NewJob(task="t")])
    queue._file._database.set_trace_callback(
        lambda statement: tries.append(statement) if "checkpoint" in statement else None
    )
    with opened(bench.path, isolation_level=None) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM taskrun_job").fetchone()
        for _ in range(20):
            queue.enqueue([NewJob(task="t")])
        assert len(tries) == 1
        reader.execute("COMMIT")
    monkeypatch.setattr(queue._file, "_copy_from", 0.0)  # the pause is over
    queue.enqueue([NewJob(task="t")])
    assert len(tries) == 2
    assert os.stat(bench.path + "-wal").st_size == 0


def test_threads_that_share_a_queue_store_all_their_jobs(bench):
    queue, answers = bench.queue(), []

    def store():
        for _ in range(25):
            answers.extend(queue.enqueue([NewJob(task="t"), NewJob(task="u", unique="u")]))
            queue.admin().stats()

    threads = [threading.Thread(target=store) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    stored = [answer.id for answer in answers if isinstance(answer, Stored)]
    assert sorted(stored) == [record.id for record in reversed(queue.admin().find(limit=1000))]
    assert len(stored) == 6 * 25 + 1
    assert sum(isinstance(answer, Duplicate) for answer in answers) == 6 * 25 - 1
