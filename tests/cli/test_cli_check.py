"""`taskrun check`: everything that is wrong, all at once, and nothing started."""

from __future__ import annotations

import pytest

GOOD = """
    [vars]
    clips = ["a", "b"]

    [tasks.probe]
    foreach.clip = "{{ vars.clips }}"
    run = ["echo", "{{ clip }}"]

    [tasks.all]
    needs = ["probe"]
"""


def test_a_good_file_is_ok(project):
    project.tasks(GOOD).taskrun("check").succeeds().says_exactly("").prints_exactly("ok: 2 tasks (tasks.toml)\n")


def test_one_task_is_not_tasks(project):
    project.tasks('[tasks.a]\nrun = ["true"]').taskrun("check").succeeds().prints_exactly("ok: 1 task (tasks.toml)\n")


def test_only_the_tasks_named_and_what_they_need_are_looked_at(project):
    project.tasks(f"""
        {GOOD}
        [tasks.wrong]
        run = ["echo", "{{{{ vars.clibs }}}}"]
    """)
    project.taskrun("check", "probe").succeeds().prints_exactly("ok: 1 task (tasks.toml)\n")
    project.taskrun("check", "all").succeeds().prints_exactly("ok: 2 tasks (tasks.toml)\n")
    project.taskrun("check").exits(2)


def test_mistakes_of_the_file_are_all_told_at_once(project):
    project.tasks("""
        [tasks.a]
        rum = ["true"]
        timeout = "soon"

        [tasks.b]
        needs = ["aa"]
    """)
    done = project.taskrun("check").exits(2).says_exactly("")
    done.prints("tasks.toml:2:1", "did you mean `run`?", "tasks.toml:3:", "tasks.toml:6:", "did you mean `a`?")


def test_mistakes_in_look_ups_have_their_place(project):
    project.tasks("""
        [vars]
        unused = "{{ vars.gone }}"

        [tasks.a]
        run = ["echo", "{{ vars.nothing }}"]
    """)
    done = project.taskrun("check").exits(2)
    done.prints("tasks.toml:2:", "gone")
    done.prints("tasks.toml:5:", "nothing")


def test_json_is_an_array_of_diagnostics(project):
    project.tasks('[tasks.a]\nrum = ["true"]\n')
    found = project.taskrun("check", "--format", "json").exits(2).json()
    assert found[0]["code"] == "unknown-key"
    project.tasks(GOOD).taskrun("check", "--format", "json").succeeds()
    assert project.taskrun("check", "--format", "json").json() == []


def test_github_gets_annotations_at_column_0(project):
    project.tasks('[tasks.a]\nrum = ["true"]\n')
    done = project.taskrun("check", "--format", "github").exits(2)
    assert done.stdout.startswith("::error file=tasks.toml,line=2,")


def test_a_parameter_that_must_be_given_is_no_mistake(project):
    project.tasks("""
        [vars]
        target = { type = "str" }
        [tasks.deploy]
        run = ["echo", "{{ vars.target }}"]
    """)
    project.taskrun("check").succeeds().prints("ok: 1 task")


def test_a_recurring_task_needs_nothing_that_has_to_be_given(project):
    project.tasks("""
        [vars]
        image = { type = "path" }
        size = { default = 3 }
        [tasks.thumb]
        run = ["true", "{{ vars.image }}", "{{ vars.size }}"]
        [tasks.nightly]
        needs = ["thumb"]
        cron = "0 3 * * *"
        [tasks.often]
        run = ["true", "{{ vars.size }}"]
        every = "5m"
    """)
    project.taskrun("check").exits(2).prints(
        "error[missing-key]: task `nightly` recurs, and nobody gives it anything: `image` needs a value\n",
        "--> tasks.toml:8:1",
        "found 1 error",
    )
    project.taskrun("check", "thumb").succeeds()


def test_a_program_that_is_not_there_is_a_warning(project):
    project.tasks("""
        [tasks.a]
        run = ["no-such-program-here", "x"]
        [tasks.b]
        shell = "true"
        shell-argv = ["no-such-shell", "-c"]
    """)
    done = project.taskrun("check").succeeds()
    done.prints("warning[program-not-found]", "`no-such-program-here` of task `a` is not on PATH", "tasks.toml:2:8")
    done.prints("`no-such-shell` of task `b`", "found 2 warnings", "ok: 2 tasks (tasks.toml)")
    levels = [each["level"] for each in project.taskrun("check", "--format", "json").succeeds().json()]
    assert levels == ["warning", "warning"]


def test_what_cannot_be_known_before_a_run_is_no_warning(project):
    project.tasks("""
        [vars]
        tool = "no-such-tool"
        [tasks.looked-up]
        run = ["{{ vars.tool }}"]
        [tasks.made-by-another]
        needs = ["looked-up"]
        run = ["build/tool"]
        [tasks.elsewhere]
        run = ["no-such-tool"]
        when = { platform = "macos" }
        [tasks.linux]
        run = ["sh"]
        when = { platform = "linux" }
    """)
    project.taskrun("check").succeeds().prints_exactly("ok: 4 tasks (tasks.toml)\n")


def test_the_path_that_the_task_will_see_counts(project):
    tool = project.write("tools/mine", "#!/bin/sh\n")
    tool.chmod(0o755)
    project.write("tools/not-executable", "")
    project.tasks("""
        [tasks.a]
        run = ["mine"]
        env = { PATH = "tools" }
        [tasks.b]
        run = ["tools/mine"]
        [tasks.c]
        run = ["./mine"]
        cwd = "tools"
        [tasks.d]
        run = ["tools/not-executable"]
    """)
    done = (
        project.taskrun("check").succeeds().prints("`tools/not-executable` of task `d` is not there", "found 1 warning")
    )
    assert done.stdout.count("program-not-found") == 1


def test_no_task_is_started_and_nothing_is_written(project):
    project.tasks("""
        [tasks.a]
        run = ["touch", "ran"]
        finally = ["b"]
        [tasks.b]
        shell = "touch ran"
    """)
    project.taskrun("check").succeeds()
    assert [path.name for path in project.path.iterdir()] == ["tasks.toml"]


def test_without_a_file_status_2(project):
    project.taskrun("check").exits(2).prints_exactly("").says("error: ", "tasks.toml")


def test_an_unknown_task_and_a_glob_that_matches_nothing(project):
    project.tasks(GOOD)
    project.taskrun("check", "proobe").exits(2).says("probe")
    project.taskrun("check", "x*").exits(4).says("x*")


def test_colours_where_they_are_asked_for(project):
    project.tasks('[tasks.a]\nrum = ["true"]\n')
    assert "\033[" not in project.taskrun("check").exits(2).stdout
    assert "\033[" in project.taskrun("check", env={"FORCE_COLOR": "1"}).exits(2).stdout
    with project.terminal("check") as terminal:
        terminal.finish().exits(2)
        assert b"\033[" in terminal.raw
    with project.terminal("check", env={"NO_COLOR": "1"}) as terminal:
        terminal.finish().exits(2)
        assert b"\033[" not in terminal.raw


@pytest.mark.slow
def test_command_lines_of_sources_are_read_once(project):
    project.tasks("""
        [vars]
        words = { shell = "echo asked >> asked; echo one" }
        [tasks.a]
        run = ["echo", "{{ vars.words }}"]
        [tasks.b]
        run = ["echo", "{{ vars.words }}"]
    """)
    project.taskrun("check").succeeds().prints("ok: 2 tasks")
    assert project.read("asked") == "asked\n"


@pytest.mark.slow
def test_a_command_line_of_a_source_that_fails_is_a_mistake(project):
    project.tasks("""
        [vars]
        words = { shell = "exit 3" }
        [tasks.a]
        run = ["echo", "{{ vars.words }}"]
    """)
    project.taskrun("check").exits(2).prints("tasks.toml:2:", "exit 3")


# --- Python targets ---------------------------------------------------------------------------------------------------

MODULE = """
    from pathlib import Path

    print("a side effect")

    def probe(path: Path, width: int = 1) -> int:
        open("called", "w")
        return width

    number = 3
"""


@pytest.mark.slow
def test_python_targets_that_are_right_are_imported_and_not_called(project):
    project.write("media.py", MODULE)
    project.tasks("""
        [tasks.a]
        python = "media:probe"
        args = { path = "x.mov", width = 3 }
    """)
    project.taskrun("check").succeeds().prints_exactly("ok: 1 task (tasks.toml)\n")
    assert not (project.path / "called").exists()


@pytest.mark.slow
def test_every_mistake_with_python_targets_is_told_at_its_place(project):
    project.write("media.py", MODULE)
    project.write("broken.py", "import no_such_module_anywhere\n")
    project.tasks("""
        [tasks.type]
        python = "media:probe"
        args = { path = "x.mov", width = "wide" }

        [tasks.name]
        python = "media:prob"

        [tasks.value]
        python = "media:number"

        [tasks.import]
        python = "broken:anything"

        [tasks.missing]
        python = "media:probe"
    """)
    done = project.taskrun("check").exits(2).says_exactly("")
    done.prints("tasks.toml:3:", "tasks.toml:6:", "tasks.toml:9:", "tasks.toml:12:", "tasks.toml:15:")
    done.prints("no_such_module_anywhere")
    done.never_says("Traceback", "a side effect")
    found = project.taskrun("check", "--format", "json").exits(2).json()
    assert sorted({each["line"] for each in found}) == [3, 6, 9, 12, 15]


@pytest.mark.slow
def test_a_module_that_crashes_is_a_warning_and_leaves_nothing(project):
    project.write("crash.py", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    project.tasks('[tasks.a]\npython = "crash:f"\n')
    project.taskrun("check").succeeds().prints("warning[python-module]", "`crash`", "SIGSEGV", "ok: 1 task")
    project.expect_nothing_left()
