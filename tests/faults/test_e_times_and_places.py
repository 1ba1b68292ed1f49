"""Rows E6 to E11, E13 to E15: clocks that jump, thousands of tasks, odd environments and values."""

from __future__ import annotations

import json
import os
import shlex
import signal

import pytest
from support import runs
from support.census import descriptors_of

# A wall clock that is a day ahead, right, and a day behind, at each second look; in taskrun's own processes only.
JUMPS = """
import itertools, sys, time

if sys.orig_argv[1:3] == ["-m", "taskrun"]:
    real, jumps = time.time, itertools.cycle([86400, 86400, 0, 0, -86400, -86400])
    time.time = lambda: real() + next(jumps)
    time.time_ns = lambda: int(time.time() * 1e9)
"""


def test_e6_a_wall_clock_that_jumps_by_days_moves_no_deadline_and_no_duration(project):
    project.write("planted/sitecustomize.py", JUMPS)
    project.write(
        "m.py", "import taskrun, time\n\ndef call():\n    assert 0 < taskrun.time_left() < 60\n    time.sleep(0.05)\n"
    )
    project.tasks("""
        [defaults]
        timeout = "60s"
        idle-timeout = "50s"
        [run]
        deadline = "70s"
        [tasks.py]
        python = "m:call"
        [tasks.again]
        shell = "echo out; echo 50% > $TASKRUN_PROGRESS; [ -e tried ] || { : > tried; exit 1; }"
        retry = { attempts = 2, delay = "10ms" }
        [tasks.slow]
        shell = "sleep 71.25"
        timeout = "100ms"
        grace = "100s"
    """)
    env = {"PYTHONPATH": f"{project.path / 'planted'}:{project.env['PYTHONPATH']}"}
    project.taskrun("run", "-k", "py", "again", "slow", env=env).exits(124)
    assert runs.states(project) == {"py": "succeeded", "again": "succeeded", "slow": "timed-out"}
    times = [json.loads(line)["ts"] for line in (runs.folder(project) / "events.jsonl").read_text().splitlines()]
    assert times != sorted(times), "the clock did not jump"
    for end in runs.ends(project).values():
        assert 0 <= end["elapsed"] < 30
    assert 0 <= runs.summary(project)["elapsed"] < 60
    project.taskrun("runs", env=env).succeeds().prints("timed out")
    project.taskrun("logs", "again", env=env).succeeds().prints_exactly("out\n")


def test_e8_thousands_of_tasks_leave_memory_and_descriptors_flat(project):
    project.tasks("""
        [run]
        jobs = 16
        [tasks.no-op]
        foreach.n = { range = [1, 2500] }
        run = ["true"]
    """)
    running = project.start("run", "no-op", "--ui", "none", "--events", "events")
    events = project.path / "events"

    def ended() -> int:
        return events.read_bytes().count(b'"task.end"') if events.exists() else 0

    seen = []
    for count in (500, 2000):
        runs.wait_until(lambda count=count: ended() >= count, f"{count} have ended")
        if running.process.poll() is None:
            seen.append((descriptors_of(running.pid), resident(running.pid)))
    running.finish().succeeds()
    assert len(runs.states(project)) == 2500
    if len(seen) == 2:  # else it was too fast to be looked at
        (few, small), (many, large) = seen
        assert abs(few - many) < 60, seen  # three for each of those that run
        assert large < small + 30_000, seen


def resident(pid: int) -> int:
    """Kilobytes of memory."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def test_e9_an_interruption_amid_ten_thousand_tasks_ends_them_without_ten_thousand_lines(project):
    project.tasks("""
        [tasks.many]
        foreach.n = { range = [1, 10000] }
        shell = ": > up; sleep 0.01"
    """)
    running = project.start("run", "-j", "8", "many")
    runs.wait_for_files(project, "up")
    finished = running.signal(signal.SIGINT).finish().dies_of(signal.SIGINT)
    finished.says("Interrupted", "Summary", "interrupted by SIGINT, 10,000 tasks")
    after = finished.stderr[finished.stderr.index("Interrupted") :]
    assert after.count("\n") < 60, after
    assert sum(runs.summary(project)["counts"].values()) == 10_000


def test_e10_a_chain_of_five_thousand_and_a_fan_of_five_thousand(project):
    lines = ['[tasks.first]\nrun = ["echo", "first"]\n[tasks.c1]\nneeds = ["first"]\n']
    lines += [f'[tasks.c{n}]\nneeds = ["c{n - 1}"]\n' for n in range(2, 5001)]
    lines += [f'[tasks.w{n}]\nneeds = ["c5000"]\n' for n in range(5000)]
    wide = ", ".join(f'"w{n}"' for n in range(5000))
    lines += [f'[tasks.last]\nneeds = [{wide}]\nrun = ["echo", "last"]\n']
    project.tasks("".join(lines))
    finished = project.taskrun("run", "last").succeeds().prints_exactly("last\n")
    finished.says("START  first", "START  last", "2 tasks: 2 ok")
    listed = project.taskrun("graph", "last", "--format", "json").succeeds().json()
    assert len(listed["tasks"] if isinstance(listed, dict) else listed) >= 10_000


def test_e11_more_at_once_than_there_are_descriptors_for_are_fewer_with_one_warning(project):
    project.tasks("""
        [tasks.a]
        foreach.n = { range = [1, 100] }
        shell = "echo {{ n }}"
    """)
    finished = project.sh("ulimit -n 256; taskrun run -j 500 a").succeeds()
    finished.says("warning: only 32 tasks at once instead of 500: too few open files are allowed", "100 tasks: 100 ok")
    assert finished.stderr.count("too few open files") == 1
    assert len(finished.stdout.splitlines()) == 100


def test_e13_a_working_directory_that_is_gone(project):
    project.tasks("[tasks.a]\nrun = ['true']\n")
    for words in ("run a", "list", "logs", ""):
        script = f"mkdir gone; cd gone; rmdir ../gone; exec {shlex.join(project.command)} {words}"
        finished = project.sh(script).exits(2).says("error: the working directory")
        assert finished.stdout == ""
        assert finished.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "setting",
    [
        "-u HOME",
        "TERM=dumb",
        "COLUMNS=1",
        "LC_ALL=C PYTHONIOENCODING=ascii",
        "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0",
        "LC_ALL=nonesuch",
        "TMPDIR=/nonexistent",
        "PATH=",
        "PYTHONSAFEPATH=1 PYTHONNOUSERSITE=1 PYTHONOPTIMIZE=2",
    ],
)
def test_e14_odd_environments_change_nothing_that_matters(project, setting):
    project.write("m.py", "def call():\n    print('é ✓')\n    raise ValueError('ü')\n")
    project.tasks("""
        [tasks.py]
        python = "m:call"
        [tasks."sh"]
        run = ["/usr/bin/printf", 'ä \\xff %s\\n', "日本"]
    """)
    command = shlex.join([*project.command, "run", "-k", "py", "sh"])
    finished = project.sh(f"exec env {setting} {command}").exits(1)
    assert sorted(finished.out.splitlines()) == sorted(["py | é ✓".encode(), "sh | ä \ufffd 日本".encode()])
    finished.says("FAIL  py  ValueError: ü", "2 tasks: 1 ok, 1 failed")


def test_e14_names_outside_of_ascii_arrive_whatever_the_locale(project):
    project.write("größe.toml", "[tasks.a]\nrun = ['printf', '[%s]', '{{ vars.wort }}']\n[vars]\nwort = 'x'\n")
    script = f"exec env LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 {shlex.join(project.command)} run -f größe.toml a"
    finished = project.sh(f"{script} wort=größe -- ñ").succeeds()
    assert finished.stdout == "[größe][ñ]"


def test_e14_a_narrow_or_a_dumb_terminal_gets_plain_lines(project):
    project.tasks("[tasks.a]\nshell = 'echo output of the task'\n[tasks.b]\nrun = ['true']\n")
    for env, columns in (({"TERM": "dumb"}, 80), ({}, 12), ({"COLUMNS": "1"}, 80)):
        with project.terminal("run", "--output", "stream", "a", "b", env=env, columns=columns) as terminal:
            finished = terminal.finish().succeeds().prints("START", "Summary")
            assert "a | output of the task" in finished.stdout
            assert b"\x1b[?25l" not in terminal.raw


def test_e15_times_that_are_none_are_refused_at_their_place(project):
    wrong = {
        "0": "0",
        "-1": "-1",
        "1e12": "1000000000000.0",
        '"10x"': '"10x"',
        '"1h1h"': '"1h1h"',
        "nan": "not a finite",
    }
    toml = ""
    for number, value in enumerate(wrong):
        toml += f"[tasks.t{number}]\nrun = ['touch', 'started']\ntimeout = {value}\n"
    project.tasks(toml)
    finished = project.taskrun("run", "t0").exits(2)
    for number in range(len(wrong)):
        assert f"`timeout` in task `t{number}`" in finished.stderr
        assert f"tasks.toml:{3 * number + 3}:11" in finished.stderr
    for option, value in (("--deadline", "0"), ("--deadline", "1e12"), ("--deadline", "10x"), ("--grace", "-1")):
        project.taskrun("run", "t0", option, value).exits(2).says(f"Invalid value for '{option}': '{value}' is no time")
    assert not os.path.exists(project.path / "started")


def test_e15_a_variable_with_a_wrong_value_is_blamed_and_not_an_option_that_nobody_gave(project):
    project.tasks("[tasks.a]\nrun = ['true']\n")
    for value, told in {"abc": "'abc' is not a valid integer", "0": "must be at least 1"}.items():
        finished = project.taskrun("run", "a", env={"TASKRUN_JOBS": value}).exits(2)
        finished.says(f"Invalid value for the variable TASKRUN_JOBS: {told}").never_says("'-j'")
    project.taskrun("run", "a", "-j", "x", env={"TASKRUN_JOBS": "1"}).exits(2).says("Invalid value for '-j'")
    project.taskrun("run", "a", env={"TASKRUN_UI": "tui"}).exits(2).says("the variable TASKRUN_UI: 'tui' is not one of")
