"""Completion: what the shell asks, what it is told, and the real thing in a bash."""

from __future__ import annotations

import pytest

from taskrun.cli.complete import Outline

TASKS = """
    [vars]
    target = { type = "str", choices = ["staging", "production"], default = "staging", help = "where to" }
    fast = { type = "bool", default = false }
    clips = ["in/a.mov", "in/b.mov"]
    out = "out"

    [tasks.probe]
    description = "Duration of\\nevery clip"
    aliases = ["pr"]
    foreach.clip = "{{ vars.clips }}"
    run = ["echo", "{{ clip }}"]

    [tasks.pack]
    description = "Pack, and send"
    run = ["true"]

    [tasks.tidy]
    hidden = true
    run = ["true"]
"""


def ask(
    project, line: str, *, shell: str = "bash", breaks: str = " \t\n\"'><=;|&(:", env: dict[str, str] | None = None
):
    """What the shell is told when Tab is pressed at the end of the line."""
    words = line.split(" ")
    given = {
        "_TASKRUN_COMPLETE": f"{shell}_complete",
        "_TASKRUN_LINE": line,
        "_TASKRUN_BREAKS": breaks,
        "COMP_WORDS": line,
        "COMP_CWORD": words[-1] if shell == "fish" else str(len(words) - 1),
    }
    return project.taskrun(env={**given, **(env or {})}).says_exactly("")


def offered(project, line: str, **more) -> list[str]:
    """The plain words that bash is told."""
    told = ask(project, line, **more).succeeds().stdout.splitlines()
    return [each.removeprefix("plain,") for each in told if each]


def test_commands_and_options(project):
    assert offered(project, "taskrun gr") == ["graph"]
    assert "--format" in offered(project, "taskrun graph --f")
    assert offered(project, "taskrun graph --format m") == ["mermaid"]
    assert offered(project, "taskrun completion ") == ["bash", "zsh", "fish"]


def test_tasks_and_keys_for_run(project):
    project.tasks(TASKS)
    assert offered(project, "taskrun run ") == ["probe", "pack", "target=", "fast=", "clips=", "out=", "clip="]
    assert offered(project, "taskrun run p") == ["probe", "pack"]
    assert offered(project, "taskrun run -j 4 pro") == ["probe"]


def test_tasks_and_keys_for_a_job_and_what_there_is_to_do_with_jobs(project):
    project.tasks(TASKS)
    assert offered(project, "taskrun enqueue p") == ["probe", "pack"]
    assert offered(project, "taskrun enqueue probe target=") == ["staging", "production"]
    assert offered(project, "taskrun jobs s") == ["show", "stats"]
    assert offered(project, "taskrun jobs list --state d") == ["delayed", "done", "dead"]
    assert offered(project, "taskrun jobs list --task p") == ["probe", "pack"]


@pytest.mark.parametrize("command", ["graph", "check", "logs"])
def test_tasks_without_keys_for_other_commands(project, command):
    assert offered(project.tasks(TASKS), f"taskrun {command} ") == ["probe", "pack"]


def test_what_stands_there_already_is_not_offered_again(project):
    assert offered(project.tasks(TASKS), "taskrun run probe p") == ["pack"]


def test_hidden_tasks_and_aliases_only_where_nothing_else_fits(project):
    project.tasks(TASKS)
    assert offered(project, "taskrun run ti") == ["tidy"]
    assert offered(project, "taskrun run pr") == ["probe"]
    project.tasks(TASKS.replace("tasks.probe", "tasks.zzz"))
    assert offered(project, "taskrun run pr") == ["pr"]


def test_values_behind_a_key_as_bash_wants_them(project):
    """bash cuts words at `=`, and replaces only what is behind it."""
    project.tasks(TASKS)
    assert offered(project, "taskrun run pack target=") == ["staging", "production"]
    assert offered(project, "taskrun run pack target=p") == ["production"]
    assert offered(project, "taskrun run fast=") == ["true", "false"]
    assert offered(project, "taskrun run probe clip=in/a") == ["in/a.mov"]
    assert offered(project, "taskrun run probe nonsense=") == []
    assert offered(project, "taskrun run target=p", breaks=" ") == ["target=production"]


def test_descriptions_for_zsh_and_fish(project):
    project.tasks(TASKS)
    zsh = ask(project, "taskrun run p", shell="zsh").succeeds().stdout.splitlines()
    assert zsh == ["plain", "probe", "Duration of every clip", "plain", "pack", "Pack, and send"]
    fish = ask(project, "taskrun run p", shell="fish").succeeds().stdout.splitlines()
    assert fish == ["plain,probe\tDuration of every clip", "plain,pack\tPack, and send"]


def test_files_behind_the_double_dash_and_for_the_file_option(project):
    project.tasks(TASKS)
    assert ask(project, "taskrun run pack -- so").stdout == "file,so\n"
    assert ask(project, "taskrun list -f so").stdout == "file,so\n"


def test_the_file_named_by_the_option_is_read(project):
    project.write("other.toml", '[tasks.other]\nrun = ["true"]')
    assert offered(project.tasks(TASKS), "taskrun run -f other.toml ") == ["other"]
    assert offered(project, "taskrun run ", env={"TASKRUN_FILE": "other.toml"}) == ["other"]


def test_a_file_in_a_folder_above_and_in_a_pyproject(project):
    project.write("pyproject.toml", "[tool.taskrun.tasks.inside]\nrun = ['true']\n")
    project.write("deep/er/x", "")
    done = project.taskrun(cwd="deep/er", env={"_TASKRUN_COMPLETE": "bash_complete", "_TASKRUN_LINE": "taskrun run "})
    done.succeeds().prints("inside")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[tasks.a\n",
        "tasks = 3",
        "[tasks]\na = 1",
        "vars = []\n[tasks.a]\nforeach = 1\naliases = 3",
        "\xff",
        "a = " + "[" * 5000,
    ],
    ids=["empty", "syntax", "type", "task", "odd", "latin", "deep"],
)
def test_a_broken_file_offers_what_it_can_and_says_nothing(project, text):
    project.write("tasks.toml", text.encode("latin-1"))
    ask(project, "taskrun run ").succeeds()


def test_no_file_no_word(project):
    assert offered(project, "taskrun run ") == []


def test_a_file_with_a_mistake_still_completes(project):
    project.tasks("[tasks.build]\nrum = 3\n")
    assert offered(project, "taskrun run b") == ["build"]


def test_values_that_a_shell_would_cut_are_quoted(project):
    project.tasks("""
        [vars]
        who = { type = "str", choices = ["two words", "$HOME"] }
        [tasks.a]
        run = ["true"]
    """)
    assert offered(project, "taskrun run who=") == ["'two words'", "'$HOME'"]


def test_an_unknown_shell_is_status_1_and_silent(project):
    project.taskrun(env={"_TASKRUN_COMPLETE": "tcsh_complete"}).exits(1).prints_exactly("").says_exactly("")


def test_the_outline_of_nonsense_is_empty():
    outline = Outline(
        {"tasks": {"a": {"aliases": [[], {}], "foreach": {"k": {"glob": "x"}}}}, "vars": {"v": {"help": 3}}}
    )
    assert outline.tasks == {"a": ""}
    assert outline.values == {"v": [], "k": []}


# --- scripts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_printed_without_a_file(project, shell):
    text = project.taskrun("completion", shell).succeeds().says_exactly("").stdout
    assert f"_TASKRUN_COMPLETE={shell}_complete" in text
    assert project.taskrun(env={"_TASKRUN_COMPLETE": f"{shell}_source"}).succeeds().stdout == text


def test_another_shell_is_a_usage_error(project):
    project.taskrun("completion", "tcsh").exits(2).prints_exactly("")
    project.taskrun("completion").exits(2).prints_exactly("")


def test_bash_completes(project):
    """Keys in a terminal, in a bash that knows nothing but the script."""
    project.tasks(TASKS)
    with project.terminal(argv=["bash", "--norc", "--noprofile", "-i"], env={"PS1": "> "}) as terminal:
        terminal.expect("> ")
        terminal.press("bind 'set enable-bracketed-paste off'; bind 'set bell-style none'\n")
        terminal.press('eval "$(taskrun completion bash)"; echo ready\n')
        terminal.expect("\nready\n")
        terminal.press("taskrun run pac\t")
        terminal.expect("taskrun run pack ")
        terminal.press("targ\t")
        terminal.expect("target=")
        terminal.press("pro\t")
        terminal.expect("production ")
        terminal.press("\x15exit\n")
        terminal.finish()
