"""Attempts: commands, folders, environments, clocks; and Python calls before anything runs."""

from __future__ import annotations

import msgspec
import pytest
from support.resolving import marked, mistake, resolve, resolver_for

from taskrun.config.loading import load_text
from taskrun.model import Attempt, Clocks, ProgressSource
from taskrun.resolve import Request, Resolver

FULL = """
    [run]
    grace = 7
    [tasks.t]
    run = ["prog", "a"]
    timeout = "1m"
    start-timeout = 1
    idle-timeout = 2
    stall-timeout = 3
    stop-signal = "SIGINT"
    success-codes = [0, 3]
    log = 1000
    leak = "fail"
    progress = "percent"
    stdin = "list.txt"
    cwd = "sub/../work"
    [tasks.g]
    run = ["prog"]
    grace = 1
    """


def test_an_attempt_has_all_that_the_task_says():
    attempt = resolve(FULL, "t").attempt("t", number=3, slots=2)
    env = attempt.env
    assert msgspec.structs.replace(attempt, env={}) == Attempt(
        run="r-1",
        task="t",
        number=3,
        command=attempt.command,
        cwd="/nowhere/work",
        env={},
        clocks=Clocks(timeout=60.0, start=1.0, idle=2.0, stall=3.0),
        grace=7.0,
        stop_signal=2,
        success_codes=(0, 3),
        progress=ProgressSource(parser="percent"),
        log=1000,
        leak="fail",
        slots=2,
    )
    assert attempt.command.argv == ("prog", "a")
    assert attempt.command.stdin == "/nowhere/list.txt"
    assert attempt.command.shell is None
    assert {name: env[name] for name in env if name.startswith("TASKRUN_")} == {
        "TASKRUN_RUN": "r-1",
        "TASKRUN_TASK": "t",
        "TASKRUN_ATTEMPT": "3",
        "TASKRUN_SLOTS": "2",
    }


def test_an_attempt_can_be_written_as_json():
    attempt = resolve(FULL, "t").attempt("t")
    assert msgspec.json.decode(msgspec.json.encode(attempt), type=Attempt) == attempt


def test_the_grace_period_of_a_task_stands_before_that_of_the_run():
    assert resolve(FULL, "t").attempt("t").grace == 7
    assert resolve(FULL, "g").attempt("g").grace == 1


def test_stdin_may_be_that_of_taskrun():
    assert resolve("[tasks.t]\nrun = ['x']\nstdin = '-'", "t").attempt("t").command.stdin == "-"
    assert resolve("[tasks.t]\nrun = ['x']", "t").attempt("t").command.stdin is None


@pytest.mark.parametrize(
    ("program", "cwd", "argv"),
    [
        ("prog", ".", "prog"),
        ("prog", "sub", "prog"),
        ("./prog", ".", "./prog"),
        ("./prog", "sub", "/nowhere/prog"),
        ("bin/prog", "sub", "/nowhere/bin/prog"),
        ("/abs/prog", "sub", "/abs/prog"),
        ("{{ vars.tool }}", ".", "./tool"),
        ("{{ vars.tool }}", "sub", "/nowhere/tool"),
        ("{{ vars.folder }}/prog", "sub", "/nowhere/bin/prog"),
        ("{{ vars.name }}", "sub", "prog"),
    ],
)
def test_a_program_with_a_path_is_relative_to_the_file_and_one_without_is_searched_for(program, cwd, argv):
    text = f"""
        [vars]
        tool = {{ type = "path", default = "tool" }}
        folder = {{ type = "path", default = "bin" }}
        name = "prog"
        [tasks.t]
        run = ["{program}", "./x"]
        cwd = "{cwd}"
        """
    assert resolve(text, "t").argv("t") == [argv, "./x"]


def test_a_folder_and_an_input_may_be_looked_up():
    text = "[tasks.t]\nforeach.d = ['a', 'b/c']\nrun = ['x']\ncwd = 'w/{{ d }}'\nstdin = '{{ d }}/in'"
    attempt = resolve(text, "t").attempt("t[d=b/c]")
    assert (attempt.cwd, attempt.command.stdin) == ("/nowhere/w/b/c", "/nowhere/b/c/in")


def test_a_run_without_a_program_is_a_mistake():
    found = mistake("vars = { none = [] }\n[tasks.t]\nrun = ['{{ vars.none }}']", "t")
    assert found.message == "there is no program to run"
    assert marked(found) == "['{{ vars.none }}']"


# --- environment


def test_tables_win_over_the_caller_and_the_tasks_over_the_files():
    found = resolve(
        """
        [vars]
        v = 5
        [env]
        A = "file"
        B = "file {{ env.A }}"
        PATH = "/mine:{{ env.PATH }}"
        [tasks.t]
        run = ["x", "{{ env.A }}", "{{ env.C }}", "{{ env.PATH }}"]
        env = { A = "task over {{ env.A }}", C = "{{ vars.v }}" }
        [tasks.u]
        run = ["x", "{{ env.A }}", "{{ env.HOME }}"]
        """,
        "t",
        "u",
        environ={"A": "caller", "PATH": "/bin", "HOME": "/h"},
    )
    env = found.env("t")
    assert (env["A"], env["B"], env["C"], env["PATH"]) == ("task over file", "file caller", "5", "/mine:/bin")
    assert found.argv("t") == ["x", "task over file", "5", "/mine:/bin"]
    assert found.argv("u") == ["x", "file", "/h"]
    assert found.attempt("t").extra_env == ("A", "B", "PATH", "C")
    assert found.attempt("u").extra_env == ("A", "B", "PATH")
    assert "TASKRUN_TASK" not in found.attempt("t").extra_env


def test_paths_in_the_environment_of_all_tasks_are_absolute():
    text = (
        "[vars]\np = { type = 'path', default = 'x/y' }\n[env]\nP = '{{ vars.p }}'\n[tasks.t]\nrun = ['x']\ncwd = 'sub'"
    )
    assert resolve(text, "t").env("t")["P"] == "/nowhere/x/y"


def test_attempts_do_not_share_what_they_may_change():
    found = resolve("[tasks.t]\nrun = ['x']", "t")
    found.env("t")["LEAK"] = "1"
    assert "LEAK" not in found.env("t")


@pytest.mark.parametrize(
    ("environ", "colour", "expected"),
    [
        ({}, False, {}),
        ({}, True, {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "TTY_INTERACTIVE": "0"}),
        ({"NO_COLOR": "1"}, True, {"NO_COLOR": "1"}),
        ({"NO_COLOR": ""}, True, {"NO_COLOR": "", "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "TTY_INTERACTIVE": "0"}),
        ({"FORCE_COLOR": "3"}, True, {"FORCE_COLOR": "3", "TTY_INTERACTIVE": "0"}),
        ({"FORCE_COLOR": "0"}, True, {"FORCE_COLOR": "0", "TTY_INTERACTIVE": "0"}),
        ({"CLICOLOR_FORCE": "1"}, True, {"CLICOLOR_FORCE": "1", "TTY_INTERACTIVE": "0"}),
        ({"TTY_INTERACTIVE": "1"}, True, {"TTY_INTERACTIVE": "1", "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}),
    ],
)
def test_colours_fit_the_runners_own_unless_the_user_decided(environ, colour, expected):
    found = resolve(
        "[tasks.t]\nrun = ['x']\n[tasks.i]\nrun = ['x']\ninteractive = true", "t", "i", environ=environ, colour=colour
    )
    names = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "TTY_INTERACTIVE")
    assert {name: value for name, value in found.env("t").items() if name in names} == expected
    assert {name: value for name, value in found.env("i").items() if name in names} == environ


def test_a_task_may_want_no_colour():
    found = resolve("[tasks.t]\nrun = ['x']\nenv = { NO_COLOR = '1' }", "t", colour=True)
    assert "FORCE_COLOR" not in found.env("t")


def test_python_writes_at_once_unless_the_user_decided():
    assert resolve("[tasks.t]\nrun = ['x']", "t").env("t")["PYTHONUNBUFFERED"] == "1"
    assert resolve("[tasks.t]\nrun = ['x']", "t", environ={"PYTHONUNBUFFERED": ""}).env("t")["PYTHONUNBUFFERED"] == ""


def test_bytes_of_the_callers_environment_that_are_no_text_are_handed_on():
    assert resolve("[tasks.t]\nrun = ['x']", "t", environ={"A": "\udcff"}).env("t")["A"] == "\udcff"


# --- Python calls


def test_call_sites_leave_out_what_depends_on_results():
    found = resolve(
        """
        [tasks.a]
        run = ["x"]
        [tasks.b]
        needs = ["a"]
        foreach.i = [1, 2]
        python = "m:f"
        args = { i = "{{ i }}", r = "{{ tasks.a.result.x }}", deep = [{ k = "n{{ tasks.a.result }}" }], n = 4 }
        [tasks.c]
        needs = ["a"]
        python = "m:g.h"
        args = [1, "{{ tasks.a.state }}", "x"]
        [tasks.d]
        python = "m:k"
        """,
        "b",
        "c",
        "d",
    )
    sites = found.resolver.python_calls(found.selection)
    assert [(site.instance, site.task, site.target, site.args, site.kwargs, site.unknown) for site in sites] == [
        ("b[i=1]", "b", "m:f", (), {"i": 1, "n": 4}, ("r", "deep")),
        ("b[i=2]", "b", "m:f", (), {"i": 2, "n": 4}, ("r", "deep")),
        ("c", "c", "m:g.h", (1, None, "x"), {}, ("1",)),
        ("d", "d", "m:k", (), {}, ()),
    ]
    assert found.call("c", a={"x": 1}).args == (1, "succeeded", "x")
    assert found.call("b[i=1]", a={"x": [1]}).kwargs == {"i": 1, "r": [1], "deep": [{"k": 'n{"x":[1]}'}], "n": 4}


def test_a_mistake_of_a_call_is_shown_at_its_argument():
    text = "[tasks.t]\npython = 'm:f'\nargs = { n = 'x' }\n[tasks.u]\npython = 'm:f'\nargs = [1, 'y']"
    found = resolve(text, "t", "u")
    t, u = found.resolver.python_calls(found.selection)
    assert marked(found.resolver.call_diagnostic(t, "c", "m", argument="n")) == "'x'"
    assert marked(found.resolver.call_diagnostic(t, "c", "m", argument="missing")) == "'m:f'"
    assert marked(found.resolver.call_diagnostic(t, "c", "m")) == "'m:f'"
    assert marked(found.resolver.call_diagnostic(u, "c", "m", argument="1")) == "'y'"


# --- size


def test_a_long_chain_needs_no_recursion():
    count = 5000
    text = "".join(f"[tasks.t{i}]\nrun = ['x']\nneeds = {[f't{i - 1}'] if i else []}\n" for i in range(count))
    project = load_text(text, root="/nowhere")
    request = Request(targets=(f"t{count - 1}",), environ={}, cwd="/nowhere")
    selection = Resolver(project, request, lambda command, environ: "").select()
    assert len(selection.instances) == count


def test_a_plain_task_of_many_is_not_copied():
    found = resolver_for("[tasks.a]\nrun = ['x', 'y']\n[tasks.b]\nneeds = ['a']\nrun = ['x']", "b").select()
    assert found.instances["b"].needs is found.instances["b"].spec.needs
