"""The host is killed at every step of an attempt, the runner at every step of a run: nothing survives, all is valid."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from support.injection import at_each_step

from taskrun import events
from taskrun.record.reading import list_runs

if TYPE_CHECKING:
    from support.injection import Injected

# A program with a grandchild and a Python call; short, so that the whole of them is killed at some step.
TASKS = """
    [tasks.program]
    shell = "echo one; sleep 0.02 | cat; echo two"
    [tasks.call]
    needs = ["program"]
    python = "calls:work"
    [tasks.both]
    needs = ["program", "call"]
"""
CALLS = """
import taskrun

def work():
    print("working")
    taskrun.checkpoint({"half": "way"})
    return 5
"""


def prepare(it: Injected) -> None:
    it.project.tasks(TASKS)
    it.project.write("calls.py", CALLS)


def records_are_valid(it: Injected) -> list[str]:
    """The states of the runs that are recorded; what is written of them reads back."""
    records = list_runs(str(it.project.path / ".taskrun"), {})
    for record in records:
        told = list(record.events())
        assert record.skipped <= 1
        assert [stamped.seq for stamped in told] == list(range(1, len(told) + 1))
        assert b"one\ntwo\n".startswith(b"".join(record.read_log("program", 1)))
        if record.summary.state == "finished":
            assert type(told[-1].event) is events.RunEnd
    # A folder without events may be one that is just being made; it counts as aborted when it is a minute old.
    return [record.summary.state for record in records if os.path.exists(os.path.join(record.path, "events.jsonl"))]


def test_the_host_is_killed_at_every_step_of_an_attempt(tmp_path, oracle):
    def host_dies(it: Injected) -> None:
        prepare(it)
        finished = it.taskrun("run", "both", "--grace", "300ms")
        if not it.struck:
            finished.succeeds()
        else:  # with its last steps it has nothing more to lose
            assert finished.status in {0, 1, 125}, repr(finished)
            assert not finished.status or "the process supervising" in finished.stderr, repr(finished)
        assert set(records_are_valid(it)) <= {"finished"}

    at_each_step(tmp_path, {"what": "kill", "role": "host"}, host_dies, oracle=oracle, usual=8)


def test_the_runner_is_killed_at_every_step_of_a_run(tmp_path, oracle):
    def runner_dies(it: Injected) -> None:
        prepare(it)
        finished = it.taskrun("run", "both")
        if it.struck:
            finished.dies_of(signal.SIGKILL)
            it.oracle.excuse("O5", "it may die before anything is written")
        else:
            finished.succeeds()
        assert set(records_are_valid(it)) <= ({"finished", "aborted"} if it.struck else {"finished"})

    at_each_step(tmp_path, {"what": "kill", "role": "runner"}, runner_dies, oracle=oracle, usual=8)
