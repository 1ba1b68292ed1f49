"""What tasks leave behind, and what they do to be left alone: each ends as it should, and nothing survives."""

from __future__ import annotations

import json

import pytest
from support.programs import comets, daemon, holds_stdout, last_words
from support.project import pids_of


def task(name: str, argv: tuple[str, ...], **keys: object) -> str:
    lines = [f"[tasks.{name}]", f"run = {json.dumps(list(argv))}"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("clear", [False, True], ids=["with its environment", "with a cleared environment"])
def test_a_daemon_that_forked_twice_is_killed_and_named(project, clear):
    project.tasks(task("a", daemon(clear=clear, seconds=61.25)))
    project.taskrun("run", "a").succeeds().says("left 1 process behind")
    assert pids_of("61.25") == []


def test_a_leak_is_a_failure_where_the_task_says_so(project):
    project.tasks(task("a", daemon(), leak="fail"))
    finished = project.taskrun("run", "a").exits(1).says("FAIL", "left 1 process behind (", "), killed")
    finished.never_says("left 1 process behind, left")


def test_a_grandchild_that_holds_stdout_does_not_hold_the_run(project):
    project.tasks(task("a", holds_stdout(seconds=62.25)))
    project.taskrun("run", "a", timeout=20).succeeds().says("left 1 process behind")
    assert pids_of("62.25") == []


def test_last_words_after_the_leader_ended_are_kept(project):
    project.tasks(task("a", last_words(0.05)))
    finished = project.taskrun("run", "a").succeeds().never_says("left 1 process")
    assert finished.stdout
    project.taskrun("logs", "a").succeeds().prints_exactly(finished.stdout)


def test_a_swarm_of_comets_is_gone(project):
    project.tasks(task("a", comets(4, 0.002)))
    project.taskrun("run", "a").succeeds()
    project.expect_nothing_left()


def test_a_task_that_stops_itself_is_woken_to_be_ended(project):
    project.tasks("""
        [tasks.a]
        shell = "kill -STOP $$; echo woken"
        timeout = "500ms"
    """)
    project.taskrun("run", "a", timeout=20).exits(124).says("timed out")


def test_a_task_that_closes_its_output_goes_on_to_its_own_end(project):
    project.tasks("""
        [tasks.a]
        shell = "exec >&- 2>&-; sleep 0.6; : > finished"
    """)
    project.taskrun("run", "a").succeeds()
    assert (project.path / "finished").exists()


def test_stdin_is_empty_and_the_terminal_out_of_reach(project):
    project.tasks("""
        [tasks.a]
        shell = "cat; if (: < /dev/tty) 2>/dev/null; then echo reached; else echo out of reach; fi"
    """)
    with project.terminal("run", "a") as terminal:
        terminal.expect("out of reach")
        terminal.finish().exits(0)


def test_a_nonblocking_task_does_not_change_our_own_output(project):
    project.tasks("""
        [tasks.a]
        run = ["python3", "-c", "import os; [os.set_blocking(fd, False) for fd in (0, 1, 2)]; print('mine')"]
    """)
    flags = "import os; print([os.get_blocking(fd) for fd in (0, 1, 2)])"
    project.sh(f'taskrun run a && python3 -c "{flags}"').succeeds().prints_exactly("mine\n[True, True, True]\n")


def test_two_runs_in_one_project_have_two_records(project):
    project.tasks("""
        [tasks.a]
        shell = "echo $TASKRUN_RUN"
    """)
    first = project.start("run", "a")
    second = project.start("run", "a")
    assert first.finish().succeeds().stdout != second.finish().succeeds().stdout
    assert len(list((project.path / ".taskrun" / "runs").glob("2*"))) == 2


def test_a_nested_run_ends_with_the_outer_one(project):
    project.write(
        "inner.toml",
        """
        [tasks.nap]
        run = ["sleep", "63.25"]
    """,
    )
    project.tasks("""
        [tasks.outer]
        shell = "taskrun run -f inner.toml nap"
        timeout = "1500ms"
    """)
    project.taskrun("run", "outer", timeout=25).exits(124)
    assert pids_of("63.25") == []
    project.expect_nothing_left()
