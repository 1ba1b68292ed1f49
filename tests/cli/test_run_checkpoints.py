"""Checkpoints over attempts and runs: they hold until the task has succeeded, and no longer."""

from __future__ import annotations

CALLS = """
    import os, time, taskrun

    def too_slow_at_first():
        if taskrun.restored() is None:
            taskrun.checkpoint({"at": 7})
            while not taskrun.cancelled():
                time.sleep(0.02)
            return "it returns all the same"
        return taskrun.restored()

    def fails_at_first():
        seen = taskrun.restored()
        taskrun.checkpoint([1, 2])
        if seen is None:
            raise ValueError("not yet")
        print(seen)
"""


def test_a_call_that_returns_after_its_time_was_over_keeps_its_checkpoint(project):
    project.write("calls.py", CALLS)
    project.tasks("""
        [tasks.a]
        python = "calls:too_slow_at_first"
        timeout = "300ms"
        retry = { attempts = 2, delay = 0 }
        [tasks.b]
        needs = ["a"]
        run = ["echo", "at {{ tasks.a.result.at }}"]
    """)
    project.taskrun("run", "b").succeeds().prints("at 7")
    assert _kept(project) == []


def test_a_checkpoint_of_a_failed_run_is_there_in_the_next_and_gone_after_it(project):
    project.write("calls.py", CALLS)
    project.tasks("""
        [tasks.a]
        python = "calls:fails_at_first"
    """)
    project.taskrun("run", "a").exits(1)
    assert len(_kept(project)) == 1
    project.taskrun("run", "a").succeeds().prints_exactly("[1, 2]\n")
    assert _kept(project) == []


def _kept(project):
    return list((project.path / ".taskrun" / "checkpoints").iterdir())
