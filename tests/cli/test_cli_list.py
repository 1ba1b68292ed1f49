"""`taskrun list`: one line a task for people, an array for programs."""

from __future__ import annotations

import os
import re

import pytest

SOME = """
    [tasks.probe]
    description = "Duration of every clip"
    aliases = ["p", "pr"]
    foreach.clip = ["a", "b"]
    python = "media:probe"
    args = { clip = "{{ clip }}" }

    [tasks.transcode]
    needs = ["probe"]
    run = ["ffmpeg", "-i", "two words.mov"]
    finally = ["tidy"]

    [tasks.tidy]
    hidden = true
    shell = "rm -rf scratch"

    [tasks.all]
    needs = ["transcode"]
"""


def test_tasks_are_listed_in_file_order_with_descriptions_aligned(project):
    project.tasks(SOME).taskrun("list").succeeds().says_exactly("").prints_exactly("""
        probe (p, pr)  Duration of every clip
        transcode      ffmpeg -i 'two words.mov'
        all
    """)


def test_hidden_tasks_are_listed_with_all(project):
    project.tasks(SOME).taskrun("list", "--all").succeeds().prints("tidy", "rm -rf scratch")


def test_json_has_everything_and_the_place_of_the_name(project):
    project.tasks(SOME)
    listed = project.taskrun("list", "--json", "--all").succeeds().json()
    assert [task["name"] for task in listed] == ["probe", "transcode", "tidy", "all"]
    assert listed[0] == {
        "name": "probe",
        "description": "Duration of every clip",
        "kind": "python",
        "command": "media:probe",
        "needs": [],
        "finally": [],
        "foreach": ["clip"],
        "aliases": ["p", "pr"],
        "hidden": False,
        "every": None,
        "cron": None,
        "file": "tasks.toml",
        "line": 1,
        "column": 8,
    }
    assert (listed[1]["kind"], listed[1]["command"]) == ("run", ["ffmpeg", "-i", "two words.mov"])
    assert (listed[1]["needs"], listed[1]["finally"]) == (["probe"], ["tidy"])
    assert (listed[2]["kind"], listed[2]["hidden"]) == ("shell", True)
    assert (listed[3]["kind"], listed[3]["command"]) == ("group", None)


def test_hidden_tasks_are_not_in_json_without_all(project):
    listed = project.tasks(SOME).taskrun("list", "--json").succeeds().json()
    assert [task["name"] for task in listed] == ["probe", "transcode", "all"]


def test_a_file_with_hidden_tasks_only_says_so(project):
    project.tasks('[tasks.a]\nhidden = true\nrun = ["true"]')
    project.taskrun("list").succeeds().prints_exactly("").says("only hidden tasks", "--all")
    project.taskrun("list", "--json").succeeds().prints_exactly("[]\n")


def test_text_of_the_file_cannot_harm_the_terminal_or_break_lines(project):
    project.tasks(r"""
        [tasks.a]
        description = "red \u001b[31m and \u0007 bell\n  next   line"
        run = ["true"]
    """)
    project.taskrun("list").succeeds().prints_exactly("a  red \\x1b[31m and \\x07 bell next line\n")


def test_lines_fit_the_terminal_and_parameters_follow(project):
    project.tasks("""
        [vars]
        target = { type = "str", choices = ["staging", "production"], default = "staging", help = "where to" }
        count = { type = "int" }
        plain = "no parameter"

        [tasks.deploy]
        description = "A description that is much longer than the terminal is wide"
        run = ["true"]
    """)
    with project.terminal("list", columns=40) as terminal:
        shown = terminal.finish().succeeds().stdout
    lines = shown.splitlines()
    assert lines[0] == "deploy  A description that is much long…"
    assert all(len(line) <= 40 for line in lines)
    assert "parameters:" in lines
    assert "plain" not in shown
    with project.terminal("list", columns=120) as terminal:
        terminal.finish().prints("target=  where to (staging | production, default staging)", "count=   int, required")


def test_wide_characters_count_as_two_columns(project):
    project.tasks("""
        [tasks.a]
        description = "日本語の説明がここにあります"
        run = ["true"]
    """)
    with project.terminal("list", columns=12) as terminal:
        terminal.finish().succeeds().prints_exactly("a  日本語の…\n")


def test_piped_lines_are_whole(project):
    long = "x" * 500
    project.tasks(f'[tasks.a]\ndescription = "{long}"\nrun = ["true"]')
    project.taskrun("list").succeeds().prints_exactly(f"a  {long}\n")


def test_one_long_name_does_not_push_all_descriptions_to_the_right(project):
    name = "n" * 60
    project.tasks(f"""
        [tasks.a]
        description = "short"
        run = ["true"]
        [tasks.{name}]
        description = "long"
        run = ["true"]
    """)
    project.taskrun("list").succeeds().prints_exactly(f"a  short\n{name}  long\n")


def test_the_file_is_found_from_a_folder_below_and_named_as_seen_from_there(project):
    project.tasks(SOME).write("deep/er/file.txt", "")
    listed = project.taskrun("list", "--json", cwd="deep/er").succeeds().json()
    assert os.path.basename(listed[0]["file"]) == "tasks.toml"


def test_another_file_by_option_and_by_variable(project):
    project.write("other.toml", '[tasks.other]\nrun = ["true"]')
    project.taskrun("list", "-f", "other.toml").succeeds().prints("other")
    project.taskrun("list", env={"TASKRUN_FILE": "other.toml"}).succeeds().prints("other")


def test_without_a_file_the_message_says_where_it_looked(project):
    project.taskrun("list").exits(2).prints_exactly("").says("error: ", "tasks.toml")


def test_a_broken_file_is_refused_with_its_place(project):
    project.tasks("""
        [tasks.a]
        rum = ["true"]
    """)
    project.taskrun("list").exits(2).prints_exactly("").says("unknown-key", "tasks.toml:2:1", "did you mean `run`?")


def test_an_early_closed_pipe_is_silent_and_ends_by_sigpipe(project):
    project.tasks("\n".join(f'[tasks.t{number}]\nrun = ["true"]' for number in range(5000)))
    done = project.sh("taskrun list | head -1; echo ${PIPESTATUS[0]}").exits(0)
    assert done.stdout.splitlines()[0].startswith("t0 ")
    assert done.stdout.splitlines()[1] in {"141", "0"}  # 0: it was faster than head
    assert done.stderr == ""


def test_a_pipe_closed_before_the_first_byte_ends_by_sigpipe(project):
    project.tasks(SOME)
    read, write = os.pipe()
    os.close(read)
    try:
        project.start("list", stdout=write).finish().dies_of(13).says_exactly("")
    finally:
        os.close(write)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_told_and_is_not_success(project):
    project.tasks(SOME)
    project.sh("taskrun list > /dev/full").exits(125).says("error: cannot write to stdout")


def test_a_stdout_that_is_not_utf_8_gets_escapes(project):
    project.tasks('[tasks.a]\ndescription = "naïve ✓"\nrun = ["true"]')
    done = project.taskrun("list", env={"PYTHONIOENCODING": "latin-1"}).succeeds()
    assert done.out == b"a  na\xefve \\u2713\n"


def test_unknown_options_are_usage_errors(project):
    finished = project.tasks(SOME).taskrun("list", "--jsn").exits(2)
    assert re.search("--json", finished.stderr)
