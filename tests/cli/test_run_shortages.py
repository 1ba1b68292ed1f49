"""What the machine, or the user, allows too little of for a run at all: a message and a status, never a traceback."""

from __future__ import annotations

import pytest

TASK = "[tasks.t]\nrun = ['true']\n"


@pytest.mark.parametrize("descriptors", [12, 14, 16, 20])
def test_a_handful_of_descriptors_is_enough_or_is_said_not_to_be(project, descriptors):
    """Where the limit lies depends on the interpreter; below eleven many a shell does not start."""
    project.tasks(TASK)
    done = project.sh(f"ulimit -n {descriptors}; exec taskrun run t")
    assert "Traceback" not in done.stderr
    if done.status == 0:
        done.says("warning: only 1 task at once instead of", "1 task: 1 ok")
    else:
        assert "too many open files" in done.stderr.lower(), repr(done)
        assert done.status in {1, 125}, repr(done)


def test_no_byte_may_be_written_to_a_file(project):
    project.tasks(TASK)
    done = project.sh("(ulimit -f 0; taskrun run t 2>&1) | cat").exits(125)
    done.prints("error: cannot write to ", "file too large")
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("jobs", [10**9, 10**30])
def test_more_slots_than_there_are_descriptors_for_are_not_taken(project, jobs):
    project.tasks(TASK + f"[run]\njobs = {min(jobs, 2**63)}\n")
    for words in ((f"-j{jobs}",), ()):
        done = project.sh(f"ulimit -n 256; exec taskrun run t {' '.join(words)}").succeeds()
        done.says(f"warning: only 32 tasks at once instead of {jobs if words else min(jobs, 2**63)}")
