"""Timeouts, start, idle and stall clocks, retries and the deadline: each with a program that provokes exactly it."""

from __future__ import annotations

import json
import os

import pytest


def ends(project, *arguments):
    """The `task.end` events of a run, by task, and the run's last event."""
    finished = project.taskrun("run", "--events", "-", *arguments)
    events = finished.json_lines()
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["event"] == "run.end"
    return {event["task"]: event for event in events if event["event"] == "task.end"}, events, finished


@pytest.mark.parametrize(
    ("clock", "shell", "reason"),
    [
        ("timeout", "while :; do echo tick; sleep 0.1; done", "timed out after 600ms"),
        ("start-timeout", "sleep 30", "no output or progress within 600ms of its start"),
        ("idle-timeout", "echo once; sleep 30", "no output or progress for 600ms"),
        (
            "stall-timeout",
            "while :; do echo progress 3/10 > $TASKRUN_PROGRESS; echo alive; sleep 0.1; done",
            "progress did not move for 600ms",
        ),
    ],
)
def test_each_clock_stops_what_provokes_it_and_nothing_else(project, clock, shell, reason):
    others = {
        "timeout": "20s",
        "start-timeout": "10s",
        "idle-timeout": "10s",
        "stall-timeout": "10s",
    } | {clock: "600ms"}
    keys = "\n".join(f'{key} = "{value}"' for key, value in others.items())
    project.tasks(f"[tasks.a]\nshell = '''{shell}'''\n{keys}\n")
    tasks, _events, finished = ends(project, "a")
    assert tasks["a"]["state"] == "timed-out"
    assert tasks["a"]["reason"] == reason
    finished.exits(124)


def test_progress_that_begins_late_and_stands_still_is_seen_without_another_clock(project):
    project.write("m.py", "import taskrun, time\n\ndef call():\n    taskrun.progress(3, 10)\n    time.sleep(30)\n")
    project.tasks("""
        [defaults]
        stall-timeout = "300ms"
        [tasks.a]
        shell = "sleep 0.5; echo progress 3/10 > $TASKRUN_PROGRESS; sleep 30"
        [tasks.b]
        python = "m:call"
    """)
    tasks, _events, finished = ends(project, "-k", "a", "b")
    assert {task: end["reason"] for task, end in tasks.items()} == dict.fromkeys(
        "ab", "progress did not move for 300ms"
    )
    assert max(end["elapsed"] for end in tasks.values()) < 20
    finished.exits(124)


def test_what_hung_is_described_in_the_log_before_it_is_stopped(project):
    project.tasks("""
        [tasks.a]
        run = ["sleep", "30"]
        timeout = "300ms"
    """)
    project.taskrun("run", "a").exits(124)
    project.taskrun("logs", "a").succeeds().prints("timeout after 0.3s", "sleep 30")


def test_retry_on_exit_75_twice_then_success(project):
    project.tasks("""
        [tasks.a]
        shell = "echo try $TASKRUN_ATTEMPT; [ $TASKRUN_ATTEMPT -ge 3 ] || exit 75"
        retry.attempts = 5
        retry.delay = "10ms"
        retry.on = ["exit:75"]
    """)
    tasks, events, finished = ends(project, "a")
    assert (tasks["a"]["state"], tasks["a"]["attempt"]) == ("succeeded", 3)
    retries = [event for event in events if event["event"] == "task.retry"]
    assert [(event["attempt"], event["why"]) for event in retries] == [(1, "exit 75"), (2, "exit 75")]
    finished.succeeds()
    for attempt in (1, 2, 3):
        project.taskrun("logs", "a", "--attempt", str(attempt)).succeeds().prints_exactly(f"try {attempt}\n")


def test_an_exit_code_that_retry_on_does_not_name_is_not_retried(project):
    project.tasks("""
        [tasks.a]
        shell = "exit 2"
        retry.attempts = 5
        retry.on = ["exit:75", "timeout"]
    """)
    tasks, _events, finished = ends(project, "a")
    assert tasks["a"]["attempt"] == 1
    finished.exits(1)


def test_an_idle_attempt_may_be_retried_by_its_clock(project):
    project.tasks("""
        [tasks.a]
        shell = "echo hello; [ $TASKRUN_ATTEMPT = 2 ] || sleep 30"
        idle-timeout = "500ms"
        retry.attempts = 2
        retry.on = ["idle"]
    """)
    tasks, _events, finished = ends(project, "a")
    assert (tasks["a"]["state"], tasks["a"]["attempt"]) == ("succeeded", 2)
    finished.succeeds()


def test_a_python_exception_is_retried_by_its_class(project):
    project.write(
        "shaky.py",
        """
        import os

        class Odd(OSError):
            def __init__(self, one, two):
                super().__init__(one)

        def act():
            if os.environ["TASKRUN_ATTEMPT"] == "1":
                raise Odd("a", "b")
            return "done"
    """,
    )
    project.tasks("""
        [tasks.a]
        python = "shaky:act"
        retry.attempts = 2
        retry.on = ["exception:OSError"]
    """)
    tasks, _events, finished = ends(project, "a")
    assert (tasks["a"]["attempt"], tasks["a"]["result"]) == (2, "done")
    finished.succeeds()


def test_the_deadline_ends_the_whole_run(project):
    project.tasks("""
        [tasks.quick]
        run = ["true"]
        [tasks.slow]
        run = ["sleep", "30"]
        [tasks.after]
        needs = ["slow"]
        run = ["true"]
    """)
    tasks, _events, finished = ends(project, "--deadline", "700ms", "quick", "after")
    assert {name: end["state"] for name, end in tasks.items()} == {
        "quick": "succeeded",
        "slow": "cancelled",
        "after": "not-started",
    }
    finished.exits(124)


def test_clocks_stand_still_while_nobody_reads_the_output(project):
    """A reader that takes nothing for a while holds the task up; idle would be the reader's fault, not the task's."""
    project.tasks("""
        [tasks.a]
        shell = "head -c 30000000 /dev/zero; echo end"
        idle-timeout = "700ms"
        timeout = "25s"
    """)
    read, write = os.pipe()
    try:
        running = project.start("run", "a", stdout=write)
        os.close(write)
        write = -1
        first = os.read(read, 10)
        assert first == b"\0" * 10
        with pytest.raises(AssertionError):  # it does not end by itself, nor by its idle clock
            running.wait_for("FAIL", timeout=2.0)
        count = 10
        while data := os.read(read, 1 << 20):
            count += len(data)
        assert count == 30_000_000 + len("end\n")
        running.finish().succeeds()
    finally:
        os.close(read)
        if write >= 0:
            os.close(write)


def test_progress_rises_to_the_end_and_never_falls(project):
    project.tasks("""
        [tasks.a]
        shell = "for i in 1 5 3 9 10; do echo progress $i/10 > $TASKRUN_PROGRESS; sleep 0.15; done"
    """)
    _tasks, events, finished = ends(project, "a")
    fractions = [event["fraction"] for event in events if event["event"] == "task.progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    finished.succeeds()


def test_a_binary_makes_a_result_that_dependents_look_up(project):
    project.tasks("""
        [tasks.a]
        shell = "echo output colour=blue > $TASKRUN_PROGRESS; echo ::taskrun output size=3"
        [tasks.b]
        needs = ["a"]
        shell = "echo {{ tasks.a.result.colour }} {{ tasks.a.result.size }}"
    """)
    project.taskrun("run", "b").succeeds().prints_exactly("blue 3\n")


def test_a_look_up_of_a_result_that_is_not_there_fails_the_task_before_it_starts(project):
    project.tasks("""
        [tasks.a]
        shell = "echo output colour=blue > $TASKRUN_PROGRESS"
        [tasks.b]
        needs = ["a"]
        shell = "echo {{ tasks.a.result.size }}"
    """)
    tasks, _events, finished = ends(project, "b")
    assert tasks["b"]["state"] == "failed"
    assert "size" in tasks["b"]["reason"]
    finished.exits(1)


def test_events_are_json_also_when_the_file_is_refused(project):
    project.tasks("[tasks.a]\nrnu = ['true']\n")
    finished = project.taskrun("run", "--events", "-", "a").exits(2)
    events = finished.json_lines()
    assert [event["event"] for event in events] == ["diagnostic"] * (len(events) - 1) + ["run.end"]
    assert events[-1]["exit_status"] == 2
    assert "rnu" in json.dumps(events[0])
