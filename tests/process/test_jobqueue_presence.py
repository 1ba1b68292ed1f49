"""Locks and sockets of queue workers, and the two ways in which a process could lose SQLite's locks: neither happens."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import warnings

import pytest
from support.queues import SqliteBench

from taskrun.jobqueue import presence, sqlite_file
from taskrun.jobqueue.presence import Presence
from taskrun.jobqueue.values import NewJob


@pytest.fixture
def bench(tmp_path):
    made = SqliteBench(str(tmp_path))
    yield made
    made.close()


def rung(worker):
    with contextlib.suppress(BlockingIOError):
        return bool(worker.bell.recv(1))
    return False


def test_a_worker_lives_as_long_as_its_lock_is_held_by_anybody(tmp_path):
    folder = str(tmp_path / "workers")
    worker = Presence(folder)
    inherited = os.dup(worker.descriptor)

    assert presence.living(folder) == [worker.worker]
    worker.leave(clean=False)
    assert presence.is_alive(folder, worker.worker)
    os.close(inherited)
    assert not presence.is_alive(folder, worker.worker)
    assert presence.living(folder) == []
    assert not presence.is_alive(folder, "never")


def test_files_of_the_dead_are_removed_and_those_of_the_living_are_not(tmp_path):
    folder = str(tmp_path / "workers")
    alive, dead = Presence(folder), Presence(folder)
    dead.bell.close()
    os.close(dead.descriptor)
    presence.forget_dead(folder)

    assert sorted(os.listdir(folder)) == [f"{alive.worker}.lock", f"{alive.worker}.sock"]
    alive.leave(clean=True)
    assert os.listdir(folder) == []


def test_a_wake_reaches_every_worker_and_removes_the_sockets_of_those_that_are_gone(tmp_path):
    folder = str(tmp_path / "workers")
    one, other, dead = Presence(folder), Presence(folder), Presence(folder)
    dead.bell.close()
    presence.ring(folder)

    assert (rung(one), rung(other)) == (True, True)
    assert not os.path.exists(f"{folder}/{dead.worker}.sock")
    for each in (one, other):
        each.leave(clean=True)
    os.close(dead.descriptor)


def test_wakes_that_nobody_takes_hold_up_nobody(tmp_path):
    folder = str(tmp_path / "workers")
    worker = Presence(folder)
    for _ in range(1000):
        presence.ring(folder)
    while rung(worker):
        worker.silence()
    worker.leave(clean=True)
    presence.ring(str(tmp_path / "none"))


def test_a_folder_whose_path_is_longer_than_a_sockets_address_has_sockets_all_the_same(tmp_path):
    folder = str(tmp_path / ("long" * 20) / ("longer" * 20) / "workers")
    worker = Presence(folder)
    presence.ring(folder)

    assert rung(worker)
    worker.leave(clean=True)
    assert os.listdir(folder) == []


def test_where_there_can_be_no_socket_there_is_none(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError

    class Refusing(socket.socket):
        bind = refuse

    monkeypatch.setattr(presence.socket, "socket", Refusing)
    worker = Presence(str(tmp_path / "workers"))
    assert worker.bell is None
    worker.silence()
    worker.leave(clean=True)


# --- SQLite's locks are the process's ---------------------------------------------------------------------------------

LOOK = "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); print(d.execute('SELECT count(*) FROM taskrun_job').fetchone()[0]); d.close()"


def others_see(path):
    """How many jobs another process sees, which also closes the database as the last one if it believes it is."""
    return int(subprocess.run([sys.executable, "-c", LOOK, path], capture_output=True, check=True, timeout=60).stdout)


WATCHED = """
import os, sys
opened = []
sys.addaudithook(lambda event, args: opened.append(os.fsdecode(args[0])) if event == "open" and isinstance(args[0], (str, bytes)) else None)
import trio
from taskrun.jobqueue.sqlite import SqliteQueue
from taskrun.jobqueue.values import Allowance, Done, NewJob, Retry

async def handle(job, lease):
    return Retry(error="x", delay=0) if job.attempt == 1 else Done()

queue = SqliteQueue(sys.argv[1])
jobs = queue.enqueue([NewJob(task="t", args={"x": "y" * 100}) for _ in range(300)])
trio.run(lambda: queue.serve(handle, allowance=Allowance(slots=4), stop=trio.Event(), drain=True))
admin = queue.admin()
admin.find(), admin.show(1), admin.stats(), admin.cancel(2), admin.prune()
queue._file._written = 10**6
queue._file.copy_back()
queue.close()
print([path for path in opened if os.path.basename(path).startswith("queue.db") and ".workers" not in path])
print(len(opened) > 10)
"""


def test_nothing_opens_the_files_of_the_database_but_sqlite(bench):
    program = subprocess.run(
        [sys.executable, "-c", WATCHED, bench.path], capture_output=True, check=True, timeout=60, text=True
    )

    assert program.stdout.splitlines() == ["[]", "True"]


def test_no_connection_lives_through_a_fork_and_both_sides_go_on(bench):
    queue = bench.queue()
    for round_ in range(3):
        queue.enqueue([NewJob(task="t")])
        assert queue._file.is_open
        child = forked()
        if not child:
            status = 1
            with contextlib.suppress(BaseException):
                assert not queue._file.is_open
                queue.enqueue([NewJob(task="t")])
                assert others_see(bench.path) == 3 * round_ + 2
                queue.close()
                status = 0
            os._exit(status)
        assert not queue._file.is_open
        assert os.waitpid(child, 0)[1] == 0
        queue.enqueue([NewJob(task="t")])
        assert others_see(bench.path) == 3 * round_ + 3
        assert len(queue.admin().find()) == 3 * round_ + 3
    with contextlib.closing(sqlite3.connect(bench.path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_fork_waits_for_a_transaction_of_another_thread(bench):
    queue, within, order = bench.queue(), threading.Event(), []

    def write():
        with queue._file.writing() as database:
            within.set()
            time.sleep(0.1)  # in which the fork would be, if it did not wait
            database.execute("UPDATE taskrun_queue SET version = version")
            order.append("written")

    thread = threading.Thread(target=write)
    thread.start()
    within.wait()
    child = forked()
    order.append("forked")
    if not child:
        os._exit(0 if order == ["written", "forked"] else 1)
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert order == ["written", "forked"]


def test_a_process_that_stops_itself_does_so_amid_no_transaction(bench):
    queue, within, stopped, order = bench.queue(), threading.Event(), threading.Event(), []

    def write():
        with queue._file.writing() as database:
            within.set()
            time.sleep(0.1)  # in which it would be stopped
            database.execute("UPDATE taskrun_queue SET version = version")
            order.append("written")
        stopped.wait()
        queue.enqueue([NewJob(task="t")])
        order.append("stored")

    thread = threading.Thread(target=write)
    thread.start()
    within.wait()
    with sqlite_file.at_rest():
        order.append("stopped")
        stopped.set()
        thread.join(0.1)  # it does not store anything meanwhile
        order.append("continued")
    thread.join()
    assert order == ["written", "stopped", "continued", "stored"]


def forked():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there are threads: that is the matter
        return os.fork()
