"""`taskrun runs`: what has been run, how it went, and what was asked for."""

from __future__ import annotations

import pytest
from support.records import Recorded

from taskrun.record.summary import Asked

FIRST, SECOND, THIRD = (f"20261121-22431{number}.417-aaa{number}" for number in (1, 2, 3))


@pytest.fixture
def state(project) -> str:
    """The folder of records of a project with one task."""
    project.env["TZ"] = "UTC"
    project.tasks('[tasks.a]\nrun = ["true"]')
    return str(project.path / ".taskrun")


def test_runs_are_listed_newest_first_with_how_they_ended(project, state):
    asked = Asked(targets=("site", "two words"), assignments={"clip": "in/a*"}, extra=("-x",))
    with Recorded(state, FIRST, plan=["a"]) as run:
        run.end(0, succeeded=3)
    with Recorded(state, SECOND, plan=["a"], asked=asked) as run:
        run.end(1, succeeded=2, failed=1, skipped=0)
    with Recorded(state, THIRD, plan=["a"]) as run:
        run.end(130, signal=2, cancelled=1)
    project.taskrun("runs").succeeds().says_exactly("").prints_exactly(f"""
        {THIRD}  2023-11-14 22:13:20  1m 02s  SIGINT  1 cancelled            a
        {SECOND}  2023-11-14 22:13:20  1m 02s  failed  2 succeeded, 1 failed  site 'two words' 'clip=in/a*' -- -x
        {FIRST}  2023-11-14 22:13:20  1m 02s  ok      3 succeeded            a
    """)


def test_a_run_whose_writer_died_reads_as_aborted_and_a_live_one_as_running(project, state):
    with Recorded(state, FIRST, plan=["a"]) as run:
        project.taskrun("runs").succeeds().prints(FIRST, "running")
        run.dies()
    project.taskrun("runs").succeeds().prints(FIRST, "aborted")


def test_timeouts_and_other_statuses_are_named(project, state):
    with Recorded(state, FIRST, plan=["a"]) as run:
        run.end(124)
    with Recorded(state, SECOND, plan=["a"]) as run:
        run.end(125)
    project.taskrun("runs").succeeds().prints("status 125", "timed out")


def test_json_has_the_whole_of_it(project, state):
    with Recorded(state, FIRST, plan=["a", "b"], asked=Asked(targets=("b",), assignments={"k": "v"})) as run:
        run.end(1, failed=1)
    (run,) = project.taskrun("runs", "--json").succeeds().json()
    assert run["id"] == FIRST
    assert (run["state"], run["exit_status"], run["signal"], run["counts"]) == ("finished", 1, None, {"failed": 1})
    assert (run["targets"], run["assignments"], run["extra"]) == (["b"], {"k": "v"}, None)
    assert run["started"] == "2023-11-14T22:13:20.000Z"
    assert run["elapsed"] == 62.4
    assert run["folder"].endswith(f".taskrun/runs/{FIRST}")


def test_no_runs_are_told_and_are_no_failure(project, state):
    project.taskrun("runs").succeeds().prints_exactly("").says_exactly("no run is recorded yet\n")
    project.taskrun("runs", "--json").succeeds().prints_exactly("[]\n")


def test_a_damaged_record_costs_no_more_than_itself(project, state):
    with Recorded(state, FIRST, plan=["a"]) as run:
        run.end(0)
    with Recorded(state, SECOND, plan=["a"]) as run:
        run.end(0)
    project.write(f".taskrun/runs/{SECOND}/run.json", b'{"id": "x", "sta')
    project.write(f".taskrun/runs/{SECOND}/events.jsonl", b"\xff\xfe not json\n")
    project.taskrun("runs").succeeds().prints(FIRST, "ok")


def test_records_are_found_though_the_file_is_broken_by_now(project, state):
    with Recorded(state, FIRST, plan=["a"]) as run:
        run.end(0)
    project.tasks("[tasks.a\n").taskrun("runs").succeeds().prints(FIRST)
    project.tasks("").taskrun("runs").succeeds().prints(FIRST)


def test_the_folder_of_the_file_and_of_the_environment(project):
    project.tasks('[run]\nstate = "kept"\n[tasks.a]\nrun = ["true"]')
    with Recorded(str(project.path / "kept"), FIRST, plan=["a"]) as run:
        run.end(0)
    with Recorded(str(project.path / "other"), SECOND, plan=["a"]) as run:
        run.end(0)
    project.taskrun("runs").succeeds().prints(FIRST).never_says(SECOND)
    project.taskrun("runs", env={"TASKRUN_STATE": "other"}).succeeds().prints(SECOND).never_says(FIRST)


def test_without_a_project_status_2(project):
    project.taskrun("runs").exits(2).prints_exactly("").says("error: ", "tasks.toml")


def test_lines_fit_the_terminal(project, state):
    with Recorded(state, FIRST, plan=["a"], asked=Asked(targets=("x" * 200,))) as run:
        run.end(0, succeeded=1)
    with project.terminal("runs", columns=70) as terminal:
        lines = terminal.finish().succeeds().stdout.splitlines()
    assert all(len(line) <= 70 for line in lines)


@pytest.mark.slow
def test_a_real_run_is_listed(project):
    project.tasks('[tasks.a]\nrun = ["true"]').taskrun("run", "a").succeeds()
    project.taskrun("runs").succeeds().prints("ok", "1 succeeded", "a\n")
