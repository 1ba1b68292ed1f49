"""What a file means: values, what is left out, what `[defaults]` and `false` do."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from typing import Any

import pytest

from taskrun import config
from taskrun.config.project import (
    EnvSource,
    GlobSource,
    LinesSource,
    Literal,
    Parameter,
    RangeSource,
    Retry,
    RetryRule,
    RunSettings,
    ShellSource,
    TaskSpec,
    When,
)
from taskrun.config.units import BadValue, retry_rules, seconds, signal_number, size
from taskrun.model import Clocks, OnFailure, ProgressSource, ProjectError


def task(body: str, before: str = "") -> TaskSpec:
    """The task `a` of a file."""
    return config.load_text(f"{before}\n[tasks.a]\n{body}\n").tasks["a"]


def complaints(text: str) -> list[str]:
    with pytest.raises(ProjectError) as caught:
        config.load_text(text)
    return [each.message for each in caught.value.diagnostics]


def test_a_task_that_says_little_has_every_default():
    assert task('run = ["true"]') == TaskSpec(name="a", run=("true",))


def test_a_task_that_says_everything_is_understood():
    found = task(
        """
        description = "d"
        shell = "x"
        shell-argv = ["bash", "-c"]
        needs = ["b"]
        finally = ["c"]
        hidden = true
        aliases = ["z"]
        foreach.clip = { glob = "*.mov" }
        env = { A = "1" }
        dotenv = [".env", "?.local"]
        cwd = "sub"
        when = { platform = "linux", env = ["CI", "!X"], exists = "out" }
        success-codes = [0, 3]
        allow-failure = true
        stop-signal = "INT"
        stdin = "-"
        output = "group"
        log = "1 MiB"
        leak = "fail"
        grace = 0
        timeout = "1h30m"
        start-timeout = 20
        idle-timeout = 0.5
        stall-timeout = "250ms"
        retry = { attempts = 3, delay = ["1s", "30s"], on = ["exit:75", "!timeout"] }
        limits = { gpu = 2 }
        slots = 2
        progress = "tqdm"
        """,
        before="limits.gpu = 2\n[tasks.b]\nshell = 'x'\n[tasks.c]\nshell = 'x'",
    )
    assert found == TaskSpec(
        name="a",
        description="d",
        shell="x",
        shell_argv=("bash", "-c"),
        needs=("b",),
        finally_=("c",),
        hidden=True,
        aliases=("z",),
        foreach={"clip": GlobSource(glob=("*.mov",))},
        env={"A": "1"},
        dotenv=(".env", "?.local"),
        cwd="sub",
        when=(When(platform=("linux",), env=("CI", "!X"), exists=("out",)),),
        success_codes=(0, 3),
        allow_failure=True,
        stop_signal=2,
        stdin="-",
        output="group",
        log=1 << 20,
        leak="fail",
        grace=0.0,
        clocks=Clocks(timeout=5400.0, start=20.0, idle=0.5, stall=0.25),
        retry=Retry(
            attempts=3,
            first_delay=1.0,
            longest_delay=30.0,
            jitter=True,
            on=(RetryRule(kind="exit", value=75), RetryRule(kind="timeout", negated=True)),
        ),
        limits={"gpu": 2},
        slots=2,
        progress=ProgressSource(parser="tqdm"),
    )


def test_the_run_and_the_tables_of_the_file():
    project = config.load_text(
        """
        [run]
        default = ["a", "z"]
        jobs = 4
        on-failure = "stop"
        deadline = "30m"
        grace = "1s"
        cleanup = 0
        python = ".venv/bin/python"
        state = ".s"
        keep-runs = 3
        [limits]
        gpu = 1
        [env]
        LC_ALL = "C"
        [tasks.a]
        shell = "x"
        aliases = ["z"]
        """,
        root="/somewhere",
    )
    assert project.run == RunSettings(
        default=("a", "z"),
        jobs=4,
        on_failure=OnFailure.STOP,
        deadline=1800.0,
        grace=1.0,
        cleanup=0.0,
        python=".venv/bin/python",
        state=".s",
        keep_runs=3,
    )
    assert (project.limits, project.env, project.root) == ({"gpu": 1}, {"LC_ALL": "C"}, "/somewhere")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('"in"', Literal(value="in")),
        ("8", Literal(value=8)),
        ('["a", 1, true]', Literal(value=["a", 1, True])),
        ('{ glob = "*.a" }', GlobSource(glob=("*.a",))),
        ('{ glob = ["*.a", "*.b"] }', GlobSource(glob=("*.a", "*.b"))),
        ('{ lines = "hosts.txt" }', LinesSource(lines="hosts.txt")),
        ("{ range = [1, 9] }", RangeSource(first=1, last=9)),
        ("{ range = [-3, -3] }", RangeSource(first=-3, last=-3)),
        ('{ shell = "date" }', ShellSource(shell="date")),
        ('{ env = "PORT" }', EnvSource(env="PORT")),
        ('{ env = "PORT", default = "8000" }', EnvSource(env="PORT", default="8000")),
        ('{ type = "int" }', Parameter(type="int", required=True)),
        ('{ type = "path", default = "x", help = "h" }', Parameter(type="path", default="x", help="h")),
        ('{ choices = ["x", "y"] }', Parameter(choices=("x", "y"), required=True)),
        ("{ default = 8 }", Parameter(type="int", default=8)),
        ("{ default = true }", Parameter(type="bool", default=True)),
        ("{ default = 1.5, choices = [1, 1.5] }", Parameter(type="float", choices=(1, 1.5), default=1.5)),
        ('{ help = "h" }', Parameter(help="h", required=True)),
    ],
)
def test_a_variable_is(written: str, meant: Any):
    assert config.load_text(f"vars.x = {written}\ntasks.a.shell = 'x'").vars == {"x": meant}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('["a", "b"]', Literal(value=["a", "b"])),
        ("[]", Literal(value=[])),
        ('"{{ vars.clips }}"', Literal(value="{{ vars.clips }}")),
        ("{ range = [1, 3] }", RangeSource(first=1, last=3)),
    ],
)
def test_foreach_has(written: str, meant: Any):
    assert task(f"shell = 'x'\nforeach.n = {written}").foreach == {"n": meant}


# --- defaults ---------------------------------------------------------------------------------------------------------


def test_defaults_hold_where_a_task_says_nothing():
    found = task("shell = 'x'", "[defaults]\ntimeout = 5\nretry = 3\ncwd = 'd'\nlimits = ['l']\n[limits]\nl = 1")
    assert found.clocks == Clocks(timeout=5.0)
    assert (found.retry.attempts, found.cwd, found.limits) == (3, "d", {"l": 1})


def test_retry_and_limits_merge_with_the_defaults_and_the_rest_is_replaced():
    found = task(
        "shell = 'x'\nretry.attempts = 2\nlimits = { b = 2 }\ndotenv = ['own']\ntimeout = 1",
        "[defaults]\nretry = { delay = 5, on = ['timeout'] }\nlimits = { a = 1, b = 1 }\ndotenv = ['common']\n"
        "timeout = 9\nidle-timeout = 8\n[limits]\na = 1\nb = 2",
    )
    assert found.retry == Retry(attempts=2, first_delay=5.0, longest_delay=5.0, on=(RetryRule(kind="timeout"),))
    assert found.limits == {"a": 1, "b": 2}
    assert found.dotenv == ("own",)
    assert found.clocks == Clocks(timeout=1.0, idle=8.0)


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("timeout", "5"),
        ("start-timeout", "5"),
        ("idle-timeout", "5"),
        ("stall-timeout", "5"),
        ("retry", "3"),
        ("limits", "['l']"),
        ("when", "{ env = 'CI' }"),
        ("stdin", "'x'"),
        ("output", "'none'"),
        ("progress", "'tqdm'"),
    ],
)
def test_false_takes_a_default_away(key: str, default: str):
    before = f"[limits]\nl = 1\n[defaults]\n{key} = {default}\n"
    assert task("run = ['x']", before) != TaskSpec(name="a", run=("x",))
    assert task(f"run = ['x']\n{key} = false", before) == TaskSpec(name="a", run=("x",))


def test_false_keeps_no_log_and_true_keeps_all_of_it():
    before = "[defaults]\nlog = '1MiB'\n"
    assert [task(f"run = ['x']\n{line}", before).log for line in ("", "log = false", "log = true")] == [
        1 << 20,
        False,
        None,
    ]


def test_finally_of_the_defaults_is_not_for_the_tasks_that_it_names():
    project = config.load_text(
        "defaults.finally = ['t', 'u']\n[tasks.a]\nshell = 'x'\n[tasks.t]\nshell = 'x'\n[tasks.u]\nshell = 'x'\n"
    )
    assert {name: each.finally_ for name, each in project.tasks.items()} == {"a": ("t", "u"), "t": (), "u": ()}


@pytest.mark.parametrize(
    ("run", "more", "parser"),
    [
        ("'ffmpeg', '-i', 'x'", "", "ffmpeg"),
        ("'/usr/bin/ffmpeg'", "", "ffmpeg"),
        ("'notffmpeg'", "", None),
        ("'echo', 'ffmpeg'", "", None),
        ("'ffmpeg'", "progress = false", None),
        ("'ffmpeg'", "progress = 'percent'", "percent"),
    ],
)
def test_a_run_of_ffmpeg_has_its_progress_by_default(run: str, more: str, parser: str | None):
    found = task(f"run = [{run}]\n{more}").progress
    assert (found.parser if found else None) == parser


def test_a_regex_for_progress_is_kept_with_its_total_and_stream():
    found = task(r"run = ['x']" + "\n" + r"progress = { regex = '(?P<current>\d+)', total = 9, stream = 'stderr' }")
    assert found.progress == ProgressSource(parser="regex", regex=r"(?P<current>\d+)", total=9, stream="stderr")


def test_several_tables_of_when_are_alternatives():
    assert task("shell = 'x'\nwhen = [{ env = 'A' }, { exists = ['x', '!y'] }]").when == (
        When(env=("A",)),
        When(exists=("x", "!y")),
    )


@pytest.mark.parametrize(
    ("written", "meant"), [("5", (5.0, 5.0, False)), ("'250ms'", (0.25, 0.25, False)), ("[1, '1m']", (1.0, 60.0, True))]
)
def test_one_delay_is_fixed_and_two_are_doubled_with_jitter(written: str, meant: tuple[float, float, bool]):
    retry = task(f"run = ['x']\nretry = {{ attempts = 2, delay = {written} }}").retry
    assert (retry.first_delay, retry.longest_delay, retry.jitter) == meant


def test_slots_may_be_all():
    assert task("run = ['x']\nslots = 'all'").slots is None


def test_tasks_keep_the_order_of_the_file():
    text = "".join(f"[tasks.{name}]\nshell = 'x'\n" for name in "zyaxb")
    assert list(config.load_text(text).tasks) == list("zyaxb")


def test_a_table_of_a_pyproject_is_a_project_and_its_places_are_right():
    text = "[project]\nname = 'x'\n[tool.taskrun.tasks.a]\nshel = 'x'\n"
    with pytest.raises(ProjectError) as caught:
        config.load_text(text, path="pyproject.toml", table=("tool", "taskrun"))
    assert [(each.span.line, each.span.column) for each in caught.value.diagnostics if each.span][-1] == (4, 1)


def test_a_mistake_in_one_place_does_not_hide_those_in_another():
    found = complaints("[run]\njobs = 'x'\n[tasks.a]\nshell = 'x'\nneeds = ['nope']\ntimeout = 0\n")
    assert len(found) == 3


def test_dotted_and_quoted_keys_are_the_same_as_tables():
    assert task("shell = 'x'\nretry.attempts = 2") == task("\"shell\" = 'x'\n[tasks.a.retry]\nattempts = 2")


def test_arrays_in_arrays_without_end_are_one_message():
    assert complaints("a = " + "[" * 100_000) == ["arrays or tables in each other are too deep"]
    assert complaints("tasks." + "a." * 3000 + "b = 1") == ["arrays or tables in each other are too deep"]


def test_a_number_with_thousands_of_digits_is_one_message():
    assert complaints("[tasks.a]\nslots = " + "9" * 5000) == ["a number has too many digits"]


def test_loading_leaves_the_collection_of_garbage_as_it_was():
    for collecting in (True, False):
        (gc.enable if collecting else gc.disable)()
        try:
            config.load_text("tasks.a.shell = 'x'")
            assert gc.isenabled() is collecting
        finally:
            gc.enable()


# --- units ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("90s", 90),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("1d", 86400),
        ("1.5s", 1.5),
        ("1m500ms", 60.5),
        (7, 7),
        (0.25, 0.25),
    ],
)
def test_a_duration_is_in_seconds(text: float | str, value: float):
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["1h 30m", "30m1h", "s", "-1s", "1,5s", "1S", "90", "", "1s\n", "\u0661s", "1e3s", "inf"]
)
def test_no_duration_is(text: str):
    assert len(complaints(f"[tasks.a]\nshell = 'x'\ntimeout = {json.dumps(text)}")) == 1


@pytest.mark.parametrize("value", ["inf", "nan", "-inf", "1e400", "1e12", '"999999999d"', "9999999999", "0.0", "-0.0"])
def test_a_duration_beyond_all_bounds_is_a_mistake(value: str):
    assert len(complaints(f"[tasks.a]\nshell = 'x'\ntimeout = {value}")) == 1


@pytest.mark.parametrize(
    ("text", "value"), [("512MiB", 512 << 20), ("1kB", 1000), ("1.5 KiB", 1536), (7, 7), ("2TB", 2 * 10**12)]
)
def test_a_size_is_in_bytes(text: int | str, value: int):
    assert size(text) == value


@pytest.mark.parametrize("value", ["'0.1B'", "'999999999999TiB'", "'1.2.3MB'", "'MB'", "'1 mb'", "9223372036854775808"])
def test_no_size_is(value: str):
    assert len(complaints(f"[tasks.a]\nshell = 'x'\nlog = {value}")) == 1


def test_signals_have_names_with_and_without_sig_and_numbers():
    assert [signal_number(each) for each in ("SIGINT", "INT", 2)] == [2, 2, 2]
    for wrong in ("IGN", "DFL", "BLOCK", "SIG_IGN"):
        with pytest.raises(BadValue):
            signal_number(wrong)


def test_a_range_of_exit_codes_is_a_rule_each():
    assert retry_rules("!exit:64-66") == tuple(
        RetryRule(kind="exit", value=code, negated=True) for code in (64, 65, 66)
    )
    assert retry_rules("signal:9") == retry_rules("signal:SIGKILL") == (RetryRule(kind="signal", value=9),)
    assert retry_rules("exception:a.b.C") == (RetryRule(kind="exception", value="a.b.C"),)


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_loading_a_file_without_mistakes_imports_nothing_that_is_only_for_mistakes():
    code = (
        "import sys; from taskrun import config; config.load_text('tasks.a.shell = \"x\"')\n"
        "lazy = ['walk', 'locate', 'syntax', 'hints', 'expect', 'rendering', 'json_schema', 'discover']\n"
        "print([name for name in lazy if f'taskrun.config.{name}' in sys.modules]"
        " + [name for name in ('difflib', 'fnmatch', 'dataclasses', 'rich', 'trio', 'click', 'unicodedata')"
        " if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout == "[]\n"


def test_importing_config_loads_nothing():
    code = "import sys; import taskrun.config; print('msgspec' in sys.modules, 'tomli' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout
        == "False False\n"
    )
