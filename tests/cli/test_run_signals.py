"""What signals and shells do to a run beside the rows of the faults: see `tests/faults/` for most of it."""

from __future__ import annotations

import signal

from support import runs
from support.real import WAIT_FOR_GO, WITH_TIME


def test_a_task_that_was_stopped_by_job_control_still_gets_the_signal(project):
    project.tasks("""
        [tasks.a]
        shell = "trap 'echo woken; exit 0' TERM; : > a.up; kill -STOP $$; while :; do sleep 0.02; done"
    """)
    running = project.start("run", "a", *WITH_TIME)
    runs.wait_state(runs.wait_started(project, 1)["a"], "T")
    running.signal(signal.SIGTERM).finish().dies_of(signal.SIGTERM).prints("woken")


def test_a_runner_outlives_its_shell_where_nothing_else_is_said(project):
    project.tasks(f"[tasks.a]\nshell = ': > a.up; {WAIT_FOR_GO}'\n")
    shell = project.launch("bash", "-c", "taskrun run a; echo went on")
    runs.wait_for_files(project, "a.up")
    shell.signal(signal.SIGTERM).finish().dies_of(signal.SIGTERM)
    project.write("go", "")
    project.expect_nothing_left()
    assert runs.states(project) == {"a": "succeeded"}
