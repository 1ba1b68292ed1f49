"""Records of runs that were killed, and of runs that are thrown away; what disks do to them is in `tests/faults`."""

from __future__ import annotations

import os
import signal

from support import runs
from support.project import pids_of


def test_a_run_whose_runner_was_killed_reads_as_aborted_and_its_logs_are_there(project):
    project.tasks("""
        [tasks.a]
        shell = "echo so far; exec sleep 64.25"
    """)
    running = project.start("run", "a").wait_for("so far")
    assert "under way" in project.taskrun("runs").succeeds().stdout or "running" in project.taskrun("runs").stdout
    running.signal(signal.SIGKILL).finish().dies_of(signal.SIGKILL)
    project.expect_nothing_left()
    assert pids_of("64.25") == []
    project.taskrun("runs").succeeds().prints("aborted")
    (run,) = project.taskrun("runs", "--json").succeeds().json()
    assert run["state"] == "aborted"
    project.taskrun("logs", "a").succeeds().prints_exactly("so far\n")


def test_old_runs_are_thrown_away_but_none_that_is_under_way(project):
    project.tasks("""
        [run]
        keep-runs = 2
        [tasks.long]
        shell = "echo up; until [ -e go ]; do sleep 0.02; done; echo end"
        [tasks.quick]
        run = ["true"]
    """)
    long = project.start("run", "long").wait_for("up")
    ids = [project.taskrun("runs", "--json").json()[0]["id"]]
    for _ in range(3):
        project.taskrun("run", "quick").succeeds()
        ids.append(os.readlink(runs.folder(project)))
    left = sorted(path.name for path in runs.folder(project).parent.glob("2*"))
    assert left == [ids[0], *ids[-2:]]
    project.write("go", "")
    long.finish().succeeds().prints_exactly("up\nend\n")
    project.taskrun("logs", "--run", ids[0], "long").succeeds().prints_exactly("up\nend\n")
