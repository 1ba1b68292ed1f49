"""Logs with a cap: what is shown at the end comes from them, and from the stream that the task wrote it to."""

from __future__ import annotations

TASKS = """
    [tasks.a]
    shell = "echo from stdout; i=0; while [ $i -lt 3000 ]; do echo line $i to stderr >&2; i=$((i+1)); done"
    log = "4KiB"
    [tasks.b]
    shell = ":"
"""


def test_the_streams_of_a_capped_log_stay_apart(project):
    finished = project.tasks(TASKS).taskrun("run", "a", "b", "--output", "group", "--ui", "none").succeeds()
    finished.prints_exactly("from stdout\n")
    finished.says("line 0 to stderr", "bytes left out; the log is capped", "line 2999 to stderr")
