"""The oracle, tested: it finds what it is for."""

from __future__ import annotations

import sys

import pytest
from support import runs
from support.programs import daemon


def judged(project, oracle, check):
    """What another oracle, which saw the same, says of one check; what it has killed is no matter of this one's."""
    found = [each for each in oracle.complaints() if each.startswith(check)]
    oracle.excuse(check, "it was planted")
    return found


def test_it_is_content_with_a_run_in_which_nothing_happened(project, oracle):
    project.tasks("[tasks.a]\nrun = ['echo', 'hello']\n")
    project.taskrun("run", "a").succeeds()
    oracle.expect_log("a", b"hello\n")
    assert oracle.complaints() == []


def test_o1_a_daemon_without_environment_and_parents_is_found(project, oracle):
    oracle.adopts("sleep")
    oracle.patience = 0.1
    program = daemon(clear=True, seconds=73.25)
    found = project.launch(*program).finish().succeeds().stdout
    pid = found.split()[1]
    (wrong,) = judged(project, oracle, "O1")
    assert wrong.startswith(f"O1: {pid} sleep 73.25")


def test_o1_a_command_that_still_runs_is_found(project, oracle):
    project.launch("sleep", "73.25")
    assert "('sleep', '73.25')" in judged(project, oracle, "O1")[0]


def test_o2_the_dead_that_nobody_reaps_are_found(project, oracle):
    project.launch("sh", "-c", "sleep 0.01 & exit").finish()
    (wrong,) = judged(project, oracle, "O2")
    assert wrong.endswith("sleep was left dead, for others to reap")


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("import sys; sys.stdout.write('\\x1b[?25l\\n')", "O3: the cursor is hidden"),
        ("import tty; tty.setraw(0); print()", "O3: the terminal was left with"),
    ],
)
def test_o3_a_terminal_that_is_left_otherwise_is_found(project, oracle, code, wrong):
    project.terminal(argv=(sys.executable, "-c", code)).finish()
    assert judged(project, oracle, "O3")[0].startswith(wrong)


def test_o5_damaged_records_and_wrong_logs_are_found(project, oracle):
    project.tasks("[tasks.a]\nrun = ['echo', 'hello']\n")
    project.taskrun("run", "a").succeeds()
    oracle.expect_log("a", b"goodbye\n")
    with (runs.folder(project) / "logs" / "a.1.log").open("ab") as log:
        log.write(b"more\n")
    events = runs.folder(project) / "events.jsonl"
    events.write_text("".join(events.read_text().splitlines(keepends=True)[1:-1]))
    found = "\n".join(judged(project, oracle, "O5"))
    for each in (
        "events are missing",
        "without a run.end",
        "11 bytes, its index 6",
        "b'hello\\nmore\\n', not b'goodbye",
    ):
        assert each in found


def test_o7_tracebacks_of_taskrun_are_found_and_those_of_tasks_are_theirs(project, oracle):
    project.write("mine.py", "1 / 0\n")
    project.launch(sys.executable, "mine.py").finish().says("Traceback")
    project.launch(sys.executable, "-c", "import taskrun.frames; taskrun.frames.pack(object())").finish().says(
        "Traceback"
    )
    (wrong,) = judged(project, oracle, "O7")
    assert "frames.py" in wrong


def test_o8_a_stream_that_is_left_non_blocking_is_found(project, oracle):
    project.launch(sys.executable, "-c", "import os; os.set_blocking(1, False)").finish().succeeds()
    assert judged(project, oracle, "O8")
