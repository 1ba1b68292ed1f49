"""Escapes, sections and pages of CI services."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
from support.reporting import Stage

from taskrun.events import JobEnd, RunEnd, RunStart, Stamped, TaskEnd, TaskOutput, TaskStart, WorkerEnd, WorkerStart
from taskrun.report import Options, decide
from taskrun.report.ci import Annotations, GitHubFolding, GitLabFolding, annotation, folding_for

GITHUB = {"CI": "true", "GITHUB_ACTIONS": "true", "NO_COLOR": "1"}
EVIL = TaskEnd(task="a:b,c%\n::stop\x1b", attempt=1, state="failed", reason="50% done\r\nthen: bad, worse\x07")


def test_github_properties_and_data_are_escaped_differently():
    line = annotation("github", EVIL, "dir,x/tasks:1.toml", 7)
    assert line == (
        "::error file=dir%2Cx/tasks%3A1.toml,line=7,title=Task 'a%3Ab%2Cc%25%0A%3A%3Astop ' failed"
        "::50%25 done%0D%0Athen: bad, worse "
    )


def test_azure_and_teamcity_have_rules_of_their_own():
    event = TaskEnd(task="t[x=1;2]", attempt=1, state="failed", reason="50%; [bad]\nworse")
    assert annotation("azure", event, "tasks.toml", None) == (
        "##vso[task.logissue type=error;sourcepath=tasks.toml;]Task 't[x=1%3B2%5D' failed: 50%AZP25%3B [bad%5D%0Aworse"
    )
    assert annotation("teamcity", event, "tasks.toml", 1) == (
        "##teamcity[buildProblem description='Task |'t|[x=1;2|]|' failed: 50%; |[bad|]|nworse' identity='t|[x=1;2|]']"
    )


@pytest.mark.parametrize("service", ["github", "azure", "teamcity"])
def test_an_annotation_is_always_one_line(service):
    line = annotation(service, EVIL, "f", 1)
    assert line.isprintable()


def test_a_file_without_a_name_is_left_out():
    assert annotation("github", TaskEnd(task="t", attempt=1, state="failed"), "", None) == (
        "::error title=Task 't' failed::failed"
    )


def test_of_a_workers_jobs_those_are_marked_that_are_dead():
    """One that is tried again may be done in the end."""
    said: list[str] = []
    screen: Any = SimpleNamespace(say=said.append)
    about: Any = lambda _name: SimpleNamespace(place=("tasks.toml", 3))  # noqa: E731 - shorter than a function
    annotations = Annotations(screen, "teamcity", about)
    start = WorkerStart(taskrun="1", file="tasks.toml", argv=(), cwd="/", queue="q", slots=1, tasks=("a",))
    failed = TaskEnd(task="a#7", attempt=1, state="failed", reason="exit 1")
    ends = [
        JobEnd(job=7, task="a", attempt=number, max_attempts=2, outcome=outcome, error="exit 1\nlast words")
        for number, outcome in enumerate(("retry", "dead"), 1)
    ]
    for event in (start, failed, ends[0], failed, ends[1], WorkerEnd(exit_status=0)):
        annotations.handle(Stamped(seq=1, ts=0.0, run="r", event=event))
    assert said == ["##teamcity[buildProblem description='Task |'a#7|' failed: exit 1' identity='a#7']"]


def test_folded_groups_begin_and_end():
    folding = GitHubFolding()
    assert folding.opening("t", "      OK  t", is_failure=False) == b"::group::OK  t\n"
    assert folding.closing("t", is_failure=False) == b"::endgroup::\n"
    assert folding.opening("t", "    FAIL  t", is_failure=True) == b"    FAIL  t\n"
    assert folding.closing("t", is_failure=True) == b""


def test_gitlab_sections_have_names_that_gitlab_takes():
    folding = GitLabFolding(lambda: 17.9)
    opening = folding.opening("t[x=a b/ü]", "OK  t", is_failure=False)
    assert opening == b"\x1b[0Ksection_start:17:task_t_x_a_b___[collapsed=true]\r\x1b[0KOK  t\n"
    assert b"collapsed" not in folding.opening("t", "FAIL", is_failure=True)


def test_every_service_ends_what_it_begins():
    for service in ("github", "gitlab", "azure", "teamcity"):
        folding = folding_for(service)
        assert bool(folding.closing("t", is_failure=False))


def run(stage, tasks):
    stage.emit(RunStart(taskrun="0", file="tasks.toml", argv=(), cwd="/", jobs=1, tasks=(), folder=str(stage.folder)))
    for number, (task, state) in enumerate(tasks):
        stage.emit(TaskStart(task=task, attempt=1, argv=("x",)))
        stage.emit(TaskOutput(task=task, attempt=1, stream="stdout", data=f"{number} ```` <b>\n".encode()))
        reason = "exit 1" if state == "failed" else ""
        stage.emit(TaskEnd(task=task, attempt=1, state=state, elapsed=1.5, reason=reason, log=stage.log("x")))
    stage.emit(RunEnd(exit_status=int(any(state == "failed" for _task, state in tasks)), elapsed=62))


def test_the_page_of_a_step_tells_failures_first(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n")
    stage = Stage(tmp_path, decide(Options(output="none"), GITHUB), environ={"GITHUB_STEP_SUMMARY": str(page)})
    run(stage, [("good_one", "succeeded"), ("bad|one", "failed"), ("left", "cancelled")])
    text = page.read_text()
    assert text.startswith("before\n### ❌ taskrun: 1 task failed in 1m02s\n")
    assert "| ❌ | bad\\|one | 1.5s | exit 1 |" in text
    assert "| ✅ | good\\_one | 1.5s |  |" in text
    assert "`````text\n1 ```` <b>\n`````" in text
    assert text.index("bad") < text.index("good")
    assert "taskrun run 'bad|one'" in text


def test_the_page_of_thousands_stays_below_what_github_takes(tmp_path):
    page = tmp_path / "page.md"
    stage = Stage(tmp_path, decide(Options(output="none"), GITHUB), environ={"GITHUB_STEP_SUMMARY": str(page)})
    run(stage, [("t" * 200 + str(number), "failed" if number % 2 else "succeeded") for number in range(5000)])
    assert 10_000 < page.stat().st_size < 1 << 20
    stage = Stage(tmp_path, decide(Options(output="none"), GITHUB), environ={"GITHUB_STEP_SUMMARY": str(page)})
    page.write_bytes(b"x" * 899_990)
    run(stage, [("one", "succeeded")])
    assert page.stat().st_size == 899_990


def test_a_page_that_cannot_be_written_is_no_failure(tmp_path):
    missing = os.path.join(tmp_path, "no", "such", "folder")
    stage = Stage(tmp_path, decide(Options(output="none"), GITHUB), environ={"GITHUB_STEP_SUMMARY": missing})
    run(stage, [("one", "succeeded")])
    assert "Summary" in stage.sheet.text(1)


def test_only_github_has_a_page(tmp_path):
    page = tmp_path / "page.md"
    stage = Stage(tmp_path, decide(Options(), {"CI": "1"}), environ={"GITHUB_STEP_SUMMARY": str(page)})
    run(stage, [("one", "succeeded")])
    assert not page.exists()
