"""Workers of one queue that are killed, stopped and told to end at random: every job is done, none by two at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest
from support import runs
from support.census import name_of
from support.commands import PATIENCE, POLL
from support.jobs import Jobs, jobs_of
from support.torture import torture

if TYPE_CHECKING:
    from support.commands import Running
    from support.torture import Case, Torture

__all__ = ["torture"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("flock") is None, reason="flock(1) is what tells that two do one job"),
]

TASKS = """
[run]
state = ".taskrun"
grace = "2s"
[limits]
one = 1
[pools.crew]
size = 2
[defaults]
retry.attempts = 1
[vars]
n = "0"
[tasks.program]
run = ["./once", "{{ vars.n }}", "sleep", "0.1"]
[tasks.shell]
shell = "./once $N sh -c 'trap : TERM INT; sleep 0.1; sleep 0.1; sleep 0.1'"
env = { N = "{{ vars.n }}" }
[tasks.limited]
limits = ["one"]
run = ["./once", "{{ vars.n }}", "flock", "-n", "limit", "sleep", "0.02"]
[tasks.call]
python = "calls:once"
args = { n = "{{ vars.n }}" }
[tasks.pooled]
python = "calls:once"
args = { n = "{{ vars.n }}" }
pool = "crew"
[tasks.stubborn]
run = ["sh", "-c", "trap '' TERM INT; exec ./once $0 sleep 2.5", "{{ vars.n }}"]
[tasks.chain]
needs = ["shell"]
run = ["./once", "{{ vars.n }}", "true"]
"""
ONCE = """#!/bin/sh
# once JOB COMMAND...: complains where another process of the same job lives, else carries it out and notes the end.
job=$1; shift
exec 9>"lock.$job"
flock -n 9 || { echo "$job" >> violations; exit 1; }
"$@" || exit 1
echo "$job" >> ends
"""
CALLS = """
import fcntl, time

def once(n: str) -> str:
    with open(f"lock.{n}", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with open("violations", "a") as file:
                file.write(n + "\\n")
            raise
        time.sleep(0.02)
        with open("ends", "a") as file:
            file.write(n + "\\n")
    return n
"""
KINDS = ("program", "shell", "limited", "call", "pooled", "chain")
WORKERS = 3


def test_whatever_happens_to_workers_every_job_is_done_and_none_by_two_at_once(torture: Torture) -> None:
    torture.each(one_queue, usual=6.0, least=1)


def one_queue(case: Case) -> None:
    """Stores some jobs, strikes at their workers until all are done, and looks at what is left."""
    project = case.project
    project.tasks(TASKS)
    project.write("once", ONCE).chmod(0o755)
    project.write("calls.py", CALLS)
    with jobs_of(project) as jobs:
        kinds = ["stubborn"] * 4 + [case.random.choice(KINDS) for _ in range(40)]
        ids = [jobs.add(kind, job={"max_attempts": 200}, n=str(n)) for n, kind in enumerate(kinds)]
        workers = [start(case) for _ in range(WORKERS)]
        blows: list[str] = []
        case.told |= {"kinds": kinds, "blows": blows}
        until = time.monotonic() + 4 * PATIENCE
        case.oracle.bound += 4 * PATIENCE
        while set(jobs.states().values()) != {"done"}:
            assert time.monotonic() < until, jobs.states()
            time.sleep(case.random.random() * 0.3)
            if len(blows) < 12:
                at = case.random.randrange(WORKERS)
                blows.append(strike(case, workers[at]))
                if workers[at].process.returncode is not None:
                    workers[at] = start(case)
            make_due(jobs)
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                worker.signal(signal.SIGTERM)
            worker.finish()
        assert not (project.path / "violations").exists(), project.read("violations")
        ends = project.read("ends").split()
        assert set(ends) == {str(n) for n in range(len(ids))}


def start(case: Case) -> Running:
    return case.project.start("worker", "-j", "3", "--output", "none", "--ui", "none")


def strike(case: Case, worker: Running) -> str:
    """One blow, and the wait for its consequences; what it was."""
    below = list(runs.below(worker.pid))
    match case.random.choice(["kill", "kill", "host", "template", "task", "finish", "give back", "stop"]):
        case "kill":
            worker.signal(signal.SIGKILL).finish()
            return "kill"
        case "host" if hosts := [pid for pid in below if name_of(pid) == runs.HOST]:
            hit(hosts[0], signal.SIGKILL)
            worker.finish()
            return "host"
        case "template" if found := [pid for pid in below if name_of(pid) == runs.TEMPLATE]:
            hit(found[0], signal.SIGKILL)
            return "template"
        case "task" if found := [pid for pid in below if name_of(pid) not in {runs.HOST, runs.TEMPLATE, "python"}]:
            hit(case.random.choice(found), signal.SIGKILL)
            return "task"
        case "finish":
            worker.signal(signal.SIGTERM).finish()
            return "finish"
        case "give back":
            worker.signal(signal.SIGTERM)
            time.sleep(case.random.random() * 0.02)
            with contextlib.suppress(ProcessLookupError):
                worker.signal(signal.SIGINT)
            worker.finish()
            return "give back"
        case "stop":
            worker.signal(signal.SIGSTOP)
            time.sleep(POLL + case.random.random())
            worker.signal(signal.SIGCONT)
            return "stop"
    return "nothing"


def hit(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def make_due(jobs: Jobs) -> None:
    """Back-offs take seconds, and waiting for them shows nothing."""
    path = jobs.project.path / ".taskrun" / "queue.db"
    with contextlib.closing(sqlite3.connect(path, timeout=10)) as database, database:
        database.execute("UPDATE taskrun_job SET due_at = 0 WHERE state = 'delayed'")
    jobs.engine.wake()
