"""`taskrun.jobqueue.enqueue` in programs of one's own: cheap, checked, in their transactions, threads and forks."""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from taskrun import jobqueue
from taskrun.jobqueue import Duplicate, NewJob, NoSuchJob, Stored, programs
from taskrun.jobqueue.sqlite import SqliteQueue
from taskrun.model import NothingMatched, ProjectError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

TASKS = """
[run]
queue = "app.db"
[vars]
image = { type = "path" }
width = { type = "int", default = 320 }
[tasks.thumbnail]
run = ["convert", "{{ vars.image }}", "{{ vars.width }}"]
[tasks.each]
foreach.side = ["left", "right"]
run = ["echo", "{{ side }}"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    for name in ("TASKRUN_FILE", "TASKRUN_QUEUE", "TASKRUN_STATE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tasks.toml").write_text(TASKS)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for queue in programs._queues.values():  # a program keeps them for as long as it lives
        queue.close()
    programs._queues.clear()
    programs._places.clear()


def jobs(folder: Path) -> list[tuple[int, str, bytes]]:
    """Those that are stored, the oldest first."""
    queue = SqliteQueue(str(folder / "app.db"))
    try:
        return [(job.id, job.task, job.payload) for job in queue.admin().find(limit=1000)][::-1]
    finally:
        queue.close()


def test_the_file_is_found_from_the_working_directory_and_jobs_are_checked(folder, monkeypatch):
    assert jobqueue.enqueue("thumbnail", {"image": Path("in/a.png"), "width": 640}) == Stored(id=1)
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert jobqueue.enqueue("thumbnail", {"image": "b.png"}, unique="k", delay=60, priority=2) == Stored(id=2)
    assert jobqueue.enqueue("each[side=left]", unique="k") == Duplicate(id=2)
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    assert jobqueue.enqueue("each", unique="k", delay=dt.timedelta(days=1), at=tomorrow) == Duplicate(id=2)
    assert jobs(folder) == [
        (1, "thumbnail", b'{"image":"in/a.png","width":640}'),
        (2, "thumbnail", b'{"image":"below/b.png"}'),
    ]
    for args, error in (({"image": "a", "width": "x"}, UsageError), ({"image": "a", "nope": 1}, UsageError)):
        with pytest.raises(error):
            jobqueue.enqueue("thumbnail", args)
    with pytest.raises(UsageError, match="did you mean `thumbnail`"):
        jobqueue.enqueue("thumbnial")
    with pytest.raises(NothingMatched):
        jobqueue.enqueue("each[side=up]")
    with pytest.raises(NoSuchJob):
        jobqueue.enqueue("each", after=77)
    assert len(jobs(folder)) == 2


def test_many_are_stored_together_or_not_at_all(folder):
    good = [NewJob(task="each", args={"side": side}) for side in ("left", "right")]
    assert jobqueue.enqueue_many(good) == [Stored(id=1), Stored(id=2)]
    with pytest.raises(UsageError):
        jobqueue.enqueue_many([*good, NewJob(task="nope")])
    assert jobqueue.enqueue_many([]) == []
    assert len(jobs(folder)) == 2


def test_a_file_that_changes_is_read_again(folder):
    jobqueue.enqueue("each")
    (folder / "tasks.toml").write_text(TASKS.replace("tasks.each", "tasks.both"))
    assert jobqueue.enqueue("both") == Stored(id=2)
    with pytest.raises(UsageError):
        jobqueue.enqueue("each")
    (folder / "tasks.toml").write_text("[tasks.a]")
    with pytest.raises(ProjectError):
        jobqueue.enqueue("both")
    (folder / "tasks.toml").write_text(TASKS)
    assert jobqueue.enqueue("each") == Stored(id=3)


def test_the_environment_may_name_another_queue_at_any_time(folder, monkeypatch):
    jobqueue.enqueue("each")
    monkeypatch.setenv("TASKRUN_QUEUE", str(folder / "other.db"))
    assert jobqueue.enqueue("each", file=folder / "tasks.toml") == Stored(id=1)
    monkeypatch.delenv("TASKRUN_QUEUE")
    assert jobqueue.enqueue("each") == Stored(id=2)


def test_a_job_is_stored_if_the_transaction_of_the_application_is_committed(folder):
    database = sqlite3.connect(folder / "app.db")
    with database:
        database.execute("CREATE TABLE upload (name TEXT)")
    database.execute("INSERT INTO upload VALUES ('a.png')")
    jobqueue.enqueue("thumbnail", {"image": "a.png"}, connection=database)
    database.rollback()
    with database:
        database.execute("INSERT INTO upload VALUES ('b.png')")
        stored = jobqueue.enqueue("thumbnail", {"image": "b.png"}, connection=database)
    jobqueue.wake()
    assert database.execute("SELECT name FROM upload").fetchall() == [("b.png",)]
    assert jobs(folder) == [(stored.id, "thumbnail", b'{"image":"b.png"}')]
    database.close()
    with sqlite3.connect(folder / "elsewhere.db") as other, pytest.raises(UsageError, match="only in one database"):
        jobqueue.enqueue("each", connection=other)
    other.close()


@pytest.mark.parametrize("at", [-1, "0001-01-01T00:00", "0001-01-01T00:00Z"])
def test_what_is_past_is_due_at_once_however_long_ago(folder, at):
    assert jobqueue.enqueue(
        "thumbnail", {"image": "a"}, at=at if at == -1 else dt.datetime.fromisoformat(at)
    ) == Stored(id=1)
    queue = SqliteQueue(str(folder / "app.db"))
    try:
        job = queue.admin().show(1)
        assert (job.state, job.due_at) == ("ready", job.enqueued_at)
    finally:
        queue.close()


def test_threads_may_store_at_the_same_time(folder):
    found: list[int] = []
    failed: list[BaseException] = []

    def store() -> None:
        try:
            found.extend(jobqueue.enqueue("each").id for _ in range(5))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=store) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert sorted(found) == list(range(1, 21)) == [job[0] for job in jobs(folder)]


_FORKS = """
import os, sys, threading
from taskrun.jobqueue import enqueue, programs

enqueue("each")
with programs._lock:  # as if another thread had it just then
    child = os.fork()
    if child == 0:
        enqueue("each", unique="child of a lock")
        os._exit(0)
assert os.waitpid(child, 0)[1] == 0
done = threading.Event()
def store():
    while not done.is_set():
        enqueue("each")
thread = threading.Thread(target=store)
thread.start()
children = []
for number in range(4):  # as a web server starts its workers, while a thread has the lock or the database
    child = os.fork()
    if child == 0:
        enqueue("each", unique=f"child {number}")
        os._exit(0)
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
done.set()
thread.join()
enqueue("each", unique="parent")
assert codes == [0] * 4, codes
assert "trio" not in sys.modules
"""


def run(folder: Path, code: str) -> None:
    env = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(jobqueue.__path__[0]))}
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_process_that_forks_while_a_thread_stores_goes_on_storing_on_both_sides(folder):
    run(folder, _FORKS)
    queue = SqliteQueue(str(folder / "app.db"))
    keys = {job.unique for job in queue.admin().find(limit=10_000)}
    queue.close()
    assert keys == {None, "parent", "child of a lock", *(f"child {number}" for number in range(4))}


def test_to_import_it_costs_nothing_and_to_store_a_job_no_trio(folder):
    run(
        folder,
        "import sys, taskrun.jobqueue\n"
        "heavy = {'msgspec', 'sqlite3', 'trio', 'typing_extensions', 'taskrun.config', 'taskrun.model'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "taskrun.jobqueue.enqueue('each')\n"
        "assert not {'trio', 'click', 'rich', 'asyncio', 'taskrun.link'} & set(sys.modules)\n",
    )
