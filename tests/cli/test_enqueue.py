"""`taskrun enqueue`: a job is checked, stored, and its id printed; nothing that is wrong is stored."""

from __future__ import annotations

import gc
import os
import sys

import pytest

from taskrun import config
from taskrun.cli import enqueue
from taskrun.jobqueue.sqlite import SqliteQueue
from taskrun.jobqueue.values import JobState, NewJob
from taskrun.model import UsageError
from taskrun.resolve.resolver import Resolver

TASKS = """
    [vars]
    image = { type = "path", default = "a.png" }

    [tasks.thumb]
    run = ["convert", "{{ vars.image }}"]

    [tasks.call]
    python = "duties:call"

    [tasks.pooled]
    python = "duties:call"
    args = { name = "x" }
    pool = "p"

    [pools.p]
    preload = ["json"]
"""
DUTIES = """
    print("imported")
    def call(width: int, name: str = "x"):
        open("called", "w")
"""


@pytest.fixture
def tasks(project):
    project.write("duties.py", DUTIES)
    return project.tasks(TASKS)


def stored(project, path: str = ".taskrun/queue.db") -> list:
    """The jobs that are stored, the oldest first."""
    path = os.path.join(project.path, path)
    if not os.path.exists(path):
        return []
    queue = SqliteQueue(path)
    try:
        return queue.admin().find()[::-1]
    finally:
        queue.close()


def test_the_id_alone_is_printed_and_all_options_are_kept(tasks):
    tasks.taskrun("enqueue", "thumb").succeeds().says_exactly("").prints_exactly("1\n")
    tasks.taskrun(
        "enqueue", "thumb", "image=b.png", "--priority=-3", "--unique=k", "--max-attempts=5", "--after=1", "--delay=1h"
    ).succeeds().prints_exactly("2\n")
    first, second = stored(tasks)
    assert (first.task, first.payload, first.state, first.max_attempts) == ("thumb", b"{}", JobState.READY, 3)
    assert second.payload == b'{"image":"b.png"}'
    assert (second.priority, second.unique, second.max_attempts, second.after) == (-3, "k", 5, 1)
    assert 3590 < second.due_at - second.enqueued_at <= 3600
    assert tasks.read(".taskrun/.gitignore") == "*\n"


def test_a_job_with_a_key_that_is_taken_is_not_stored_and_scripts_can_tell(tasks):
    tasks.taskrun("enqueue", "thumb", "--unique", "a b").succeeds().prints_exactly("1\n")
    tasks.taskrun("enqueue", "thumb", "--unique", "a b").succeeds().prints_exactly("1\n").says_exactly(
        "note: job 1 has the unique key `a b`: nothing was stored\n"
    )
    answer = tasks.taskrun("enqueue", "thumb", "--unique", "a b", "--json").succeeds().json()
    assert answer == {"id": 1, "duplicate": True}
    assert tasks.taskrun("enqueue", "thumb", "--json").succeeds().json() == {"id": 2, "duplicate": False}
    assert len(stored(tasks)) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which TASK?"),
        (["thumb", "call"], "a job is a run of one task"),
        (["thumb", "--after", "7"], "there is no job 7 to come after"),
        (["thumb", "--at", "noon"], "is no time: as in"),
        (["thumb", "a=1", "a=2"], "a= is given twice"),
        (["thumb", "--from", "-"], "--from has the tasks"),
        (["--from", "-", "--unique", "k"], 'a line has its own "unique"'),
        (["thumb", "--priority", "9" * 20], "is beyond 64 bits"),
        (["--from", "nowhere.jsonl"], "nowhere.jsonl cannot be read: No such file"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_stored(tasks, arguments, said):
    tasks.taskrun("enqueue", *arguments).exits(2).says(said).prints_exactly("")
    assert stored(tasks) == []


def test_many_jobs_come_from_lines_in_one_transaction(tasks):
    tasks.write(
        "jobs.jsonl", '{"task": "thumb", "unique": "k"}\n\n{"task": "thumb", "unique": "k"}\n{"task": "thumb"}\n'
    )
    done = tasks.taskrun("enqueue", "--from", "jobs.jsonl", "--priority", "2").succeeds()
    done.prints_exactly("1\n1\n2\n").says_exactly("note: line 3: job 1 has the unique key `k`: nothing was stored\n")
    assert [job.priority for job in stored(tasks)] == [2, 2]
    lines = b'{"task": "thumb"}\n{"task": "thumm"}\n\n{"task": "thumb", "args": {"n": 1}}\n'
    tasks.taskrun("enqueue", "--from", "-", stdin=lines).exits(2).prints_exactly("").says(
        "line 2: there is no task `thumm`; did you mean `thumb`?", "line 4: nothing in this run knows `n`"
    )
    nasty = b'\xef\xbb\xbf{"task": "\\u001b[31mred"}\n{"task": "thumb", "after": 9223372036854775807}\n{"task": "thumb", "\x1b": 1}'
    huge = b'{"task": "thumb"}\n{"task": "thumb", "at": 1e300}\n{"task": "thumb", "priority": 99999999999999999999}'
    tasks.taskrun("enqueue", "--from", "-", stdin=huge).exits(2).says("line 2: a job's delay", "line 3: the priority")
    told = tasks.taskrun("enqueue", "--from", "-", stdin=nasty).exits(2)
    assert "\x1b" not in told.stderr
    tasks.taskrun("enqueue", "--from", "-", stdin=nasty.partition(b"\n")[0]).exits(2).says(
        "line 1: `\\x1b[31mred` is a pattern"
    )
    tasks.taskrun("enqueue", "--from", "-", stdin=b"\n").succeeds().prints_exactly("").says("nothing was stored")
    assert len(stored(tasks)) == 2


def test_of_many_jobs_no_more_is_kept_than_will_be_stored(tmp_path):
    project = config.load_text('[tasks.a]\nrun = ["true"]', root=str(tmp_path))
    checked = enqueue._checked(project, [NewJob(task="a")] * 20, lambda _index: "")
    assert checked == [NewJob(task="a")] * 20
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, Resolver)]  # each has a whole project's look-ups


def test_jobs_that_are_to_come_from_a_closed_stdin_are_refused(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)  # what Python makes of a descriptor that is closed
    with pytest.raises(UsageError, match="stdin is closed"):
        enqueue._lines("-", {})


def test_what_a_function_takes_is_asked_of_it_and_it_is_not_called(tasks):
    tasks.taskrun("enqueue", "call", "width=3").succeeds().prints_exactly("1\n")
    tasks.taskrun("enqueue", "pooled", "width=3").succeeds().prints_exactly("2\n")
    tasks.taskrun("enqueue", "call", "width=wide").exits(2).prints_exactly("").says(
        "expected `int`, got `str`", "--> tasks.toml:8:10", "from the command line: width=wide"
    )
    tasks.taskrun("enqueue", "call").exits(2).says("argument `width` of `duties:call`", "missing")
    tasks.taskrun("enqueue", "call", "widht=3").exits(2).says(
        "nothing in this run knows `widht`; did you mean `width`?"
    )
    tasks.taskrun("enqueue", "pooled", "width=3", "name=y").exits(2).says("`name` is fixed by the `args` of `pooled`")
    lines = b'{"task": "call", "args": {"width": 1}}\n{"task": "thumb"}\n{"task": "call", "args": {"width": "x"}}\n'
    tasks.taskrun("enqueue", "--from", "-", stdin=lines).exits(2).says("line 3: argument `width`")
    tasks.write("duties.py", "import nope")
    tasks.taskrun("enqueue", "call", "width=3").exits(2).says("cannot be called", "nope")
    assert len(stored(tasks)) == 2
    assert not (tasks.path / "called").exists()
    tasks.expect_nothing_left()


def test_the_queue_is_where_the_file_or_the_environment_says(tasks):
    tasks.tasks('[run]\nqueue = "var/jobs.db"\n[tasks.a]\nrun = ["true"]')
    tasks.taskrun("enqueue", "a").succeeds()
    assert len(stored(tasks, "var/jobs.db")) == 1
    other = str(tasks.path / "other.db")
    tasks.taskrun("enqueue", "a", env={"TASKRUN_QUEUE": other}).succeeds().prints_exactly("1\n")
    assert len(stored(tasks, "other.db")) == 1
    assert not (tasks.path / ".taskrun").exists()


def test_a_queue_that_cannot_be_written_is_told(tasks):
    tasks.write("jobs.db", "this is no database, and nothing of it may be lost\n" * 100)
    tasks.taskrun("enqueue", "thumb", env={"TASKRUN_QUEUE": "jobs.db"}).exits(2).says("jobs.db").prints_exactly("")
    assert tasks.read("jobs.db").startswith("this is no database")
    for address in ("mysql://u:secret@h/d", "POSTGRESQL://u:secret@h/d", "sqlite:///jobs.db"):
        before = sorted(os.listdir(tasks.path))
        refused = tasks.taskrun("enqueue", "thumb", env={"TASKRUN_QUEUE": address}).exits(2).says("a queue is a file")
        assert "secret" not in refused.stderr
        assert sorted(os.listdir(tasks.path)) == before  # also no folder of that name
    tasks.write("file", "")
    tasks.taskrun("enqueue", "thumb", env={"TASKRUN_STATE": "file/below"}).exits(125).says("file/below")
