"""Python tasks through the command line: every way to end, results, checkpoints, clocks, inspection, interpreters."""

from __future__ import annotations

import json
import os
import signal
import sys

import msgspec
import pytest
from support import runs

import taskrun


def tasks_of(names: str, module: str = "m", **keys: object) -> str:
    """A task for each function of a module."""
    more = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    return "".join(f'[tasks.{name}]\npython = "{module}:{name}"\n{more}' for name in names.split())


def run(project, *arguments, **options):
    """The `task.end` events by task, and the finished command."""
    finished = project.taskrun("run", "-k", "--events", "-", *arguments, **options)
    events = finished.json_lines()
    return {event["task"]: event for event in events if event["event"] == "task.end"}, finished


def test_a_failure_on_purpose_says_why_and_not_where(project):
    project.write("m.py", "import taskrun\n\ndef fail():\n    raise taskrun.Fail('no input here')\n")
    project.tasks(tasks_of("fail"))
    ends, finished = run(project, "fail")
    assert (ends["fail"]["exit_code"], ends["fail"]["reason"], ends["fail"]["log"]) == (1, "no input here", None)
    finished.exits(1).never_says("Traceback")


def test_pythons_warnings_are_not_about_the_workers_own_socket(project):
    project.write("m.py", "def fine():\n    pass\n")
    project.tasks(tasks_of("fine"))
    _, finished = run(project, "fine", env={"PYTHONDEVMODE": "1"})
    finished.succeeds().never_says("ResourceWarning")


# --- results


def test_results_go_through_look_ups_to_partners_lists_and_programs(project):
    project.write(
        "m.py",
        """
        from dataclasses import dataclass
        from pathlib import Path

        @dataclass
        class Clip:
            name: str
            seconds: float

        def probe(path: Path) -> Clip:
            return Clip(path.stem, len(path.stem) * 1.5)

        def double(clip: Clip, factor: int = 2) -> dict:
            return {"name": clip.name, "long": clip.seconds * factor}

        def total(clips: list[Clip], first: str, longs: list[dict]) -> list:
            return [sum(clip.seconds for clip in clips), first, [long["long"] for long in longs]]
    """,
    )
    project.tasks("""
        [vars]
        clips = ["in/a.mov", "in/bb.mov"]
        [tasks.probe]
        foreach.clip = "{{ vars.clips }}"
        python = "m:probe"
        args = { path = "{{ clip }}" }
        [tasks.double]
        foreach.clip = "{{ vars.clips }}"
        needs = ["probe"]
        python = "m:double"
        args = ["{{ tasks.probe.result }}"]
        [tasks.total]
        needs = ["probe", "double"]
        python = "m:total"
        args = { clips = "{{ tasks.probe.result }}", first = "{{ tasks.probe.result.0.name }}", longs = "{{ tasks.double.result }}" }
        [tasks.show]
        needs = ["total"]
        shell = 'echo {{ tasks.total.result.0 }} {{ tasks.total.result.1 }} {{ tasks.total.result.2.1 }} {{ tasks.total.state }}'
    """)
    project.taskrun("run", "show").succeeds().prints_exactly("4.5 a 6.0 succeeded\n")
    project.taskrun("run", "show", "clip=in/bb.mov").exits(1).says("tasks.total.result.2.1")


def test_a_result_that_does_not_fit_the_next_call_fails_that_call_before_it_starts(project):
    project.write("m.py", "def make():\n    return {'n': 'many'}\n\ndef take(n: int):\n    open('taken', 'w')\n")
    project.tasks(
        tasks_of("make")
        + '[tasks.take]\nneeds = ["make"]\npython = "m:take"\nargs = { n = "{{ tasks.make.result.n }}" }\n'
    )
    ends, finished = run(project, "take")
    assert ends["take"]["reason"] == "wrong arguments: `n`: expected `int`, got `str`"
    finished.exits(1)
    assert not (project.path / "taken").exists()


# --- checkpoints


def test_a_checkpoint_outlives_a_retry_and_a_run_and_goes_with_success(project):
    project.write(
        "m.py",
        """
        import os, taskrun

        def count(until: int):
            done = taskrun.restored() or 0
            print("from", done, flush=True)
            for done in range(done + 1, until + 1):
                taskrun.checkpoint(done)
                if done % 2:
                    os._exit(9)
            return done
    """,
    )
    project.tasks("""
        [tasks.count]
        python = "m:count"
        args = { until = "{{ vars.until }}" }
        retry.attempts = 2
        retry.delay = 0
        [vars]
        until = { type = "int", default = 6 }
    """)
    project.taskrun("run", "count").exits(1).prints_exactly("from 0\nfrom 1\n")
    # Another run goes on; other arguments have other checkpoints.
    project.taskrun("run", "count", "until=2").succeeds().prints_exactly("from 0\nfrom 1\n")
    project.taskrun("run", "count").succeeds().prints_exactly("from 3\nfrom 5\n")
    project.taskrun("run", "count").exits(1).prints_exactly("from 0\nfrom 1\n")


# --- clocks and stops

POLITE = """
import os, signal, time
import taskrun

def polite():
    while not taskrun.cancelled():  # who has asked once is trusted, and not interrupted
        open("up", "w").close()
        time.sleep(0.01)
    print("cleaning up", flush=True)
    return "not a result any more"

def rude():
    try:
        open("up", "w").close()
        time.sleep(60)
    except Exception:
        print("never here", flush=True)
    except BaseException as error:
        print(type(error).__name__, flush=True)
        raise

def left():
    return taskrun.time_left()
"""


@pytest.mark.parametrize("task", ["polite", "rude"])
def test_ctrl_c_asks_a_python_task_to_end(project, task):
    project.write("m.py", POLITE)
    project.tasks(tasks_of("polite rude"))
    with project.terminal("run", task) as terminal:
        runs.wait_for_files(project, "up")
        terminal.press("\x03")
        terminal.finish().dies_of(signal.SIGINT).prints({"polite": "cleaning up", "rude": "Cancelled"}[task])
    assert runs.states(project) == {task: "cancelled"}
    (end,) = runs.ends(project).values()
    assert end.get("result") is None


def test_a_timeout_asks_too_and_time_left_counts_down_to_it(project):
    project.write("m.py", POLITE)
    project.tasks(
        tasks_of("polite rude", timeout="400ms") + '[tasks.left]\npython = "m:left"\ntimeout = "50s"\n'
        '[tasks.free]\npython = "m:left"\n'
    )
    ends, finished = run(project, "--output", "none", "*")
    finished.exits(124)
    assert {ends[task]["reason"] for task in ("polite", "rude")} == {"timed out after 400ms"}
    assert 30 < ends["left"]["result"] <= 50
    assert ends["free"].get("result") is None
    logs = runs.folder(project) / "logs"
    assert "cleaning up" in (logs / "polite.1.log").read_text()
    assert "Cancelled" in (logs / "rude.1.log").read_text()
    assert "in polite" in (logs / "polite.1.log").read_text()  # its stack before it was stopped


def test_imports_are_not_the_tasks_own_time(project):
    """The module leaves a thread behind, so that each worker imports it anew, which takes longer than the timeout."""
    project.write(
        "slow.py",
        """
        import threading, time
        threading.Thread(target=time.sleep, args=(600,), daemon=True, name="lingerer").start()
        time.sleep(0.7)

        def call():
            return "in time"
    """,
    )
    project.tasks('[tasks.a]\npython = "slow:call"\ntimeout = "600ms"\n')
    ends, finished = run(project, "a")
    assert (ends["a"]["state"], ends["a"]["result"]) == ("succeeded", "in time")
    finished.says("module `slow` leaves 1 thread running: lingerer: it is imported anew for each task")


# --- inspection: before anything starts

TARGETS = """
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

class Colour(Enum):
    RED = "red"
    BLUE = "blue"

@dataclass
class Box:
    width: int

def resize(path: Path, width: Annotated[int, Meta(gt=0)], *, mode: Literal["fit", "fill"] = "fit",
           colour: Colour = Colour.RED, box: Box | None = None) -> None: ...

def plain(a, b=1) -> None: ...

async def later() -> None: ...

def generate():
    yield 1

number = 3
"""
MISTAKES = r"""
error[wrong-type]: argument `path` of `m:resize` in task `resize`: expected `Path`, got `3`
 --> tasks.toml:3:17
  |
3 | args = { path = 3, width = -1, mode = "stretch", colour = "green", box = { width = "x" }, quality = 9 }
  |                 ^

error[wrong-type]: argument `width` of `m:resize` in task `resize`: expected `int` >= 1, got `-1`
 --> tasks.toml:3:28
  |
3 | args = { path = 3, width = -1, mode = "stretch", colour = "green", box = { width = "x" }, quality = 9 }
  |                            ^^

error[wrong-type]: argument `mode` of `m:resize` in task `resize`: expected one of `fit`, `fill`, got `"stretch"`
 --> tasks.toml:3:39
  |
3 | args = { path = 3, width = -1, mode = "stretch", colour = "green", box = { width = "x" }, quality = 9 }
  |                                       ^^^^^^^^^

error[wrong-type]: argument `colour` of `m:resize` in task `resize`: expected one of `red`, `blue`, got `"green"`
 --> tasks.toml:3:59
  |
3 | args = { path = 3, width = -1, mode = "stretch", colour = "green", box = { width = "x" }, quality = 9 }
  |                                                           ^^^^^^^

error[wrong-type]: argument `box.width` of `m:resize` in task `resize`: expected `int`, got `str`
 --> tasks.toml:3:74
  |
3 | args = { path = 3, width = -1, mode = "stretch", colour = "green", box = { width = "x" }, quality = 9 }
  |                                                                          ^^^^^^^^^^^^^^^

error[unknown-argument]: argument `quality` of `m:resize` in task `resize`: unknown argument
 --> tasks.toml:3:101
  |
3 | args = { path = 3, width = -1, mode = "stretch", colour = "green", box = { width = "x" }, quality = 9 }
  |                                                                                                     ^ it takes `path`, `width`, `mode`, `colour`, `box`
  = `m:resize` takes path, width, [mode], [colour], [box]

error[missing-argument]: argument `width` of `m:resize` in task `missing`: missing argument
 --> tasks.toml:5:10
  |
5 | python = "m:resize"
  |          ^^^^^^^^^^
  = `m:resize` takes path, width, [mode], [colour], [box]

error[too-many-arguments]: argument `2` of `m:plain` in task `many`: takes 2 arguments by position, got 3
 --> tasks.toml:9:15
  |
9 | args = [1, 2, 3]
  |               ^
  = `m:plain` takes a, [b]

error[python-target]: `m:later` of task `async` cannot be called: `m:later` is an async function: calling it would do nothing
  --> tasks.toml:11:10
   |
11 | python = "m:later"
   |          ^^^^^^^^^ call it from a plain function, with trio.run or asyncio.run
   = at {here}/m.py:21

error[python-target]: `m:generate` of task `generator` cannot be called: `m:generate` is a generator: calling it would do nothing
  --> tasks.toml:13:10
   |
13 | python = "m:generate"
   |          ^^^^^^^^^^^^ loop over it in a plain function
   = at {here}/m.py:23

error[python-target]: `m:reszie` of task `typo` cannot be called: module `m` has no `reszie`
  --> tasks.toml:15:10
   |
15 | python = "m:reszie"
   |          ^^^^^^^^^^ did you mean `resize`?

error[python-target]: `m:number` of task `number` cannot be called: `m:number` is not a function but of type `int`
  --> tasks.toml:17:10
   |
17 | python = "m:number"
   |          ^^^^^^^^^^

error[python-import]: `broken:call` of task `broken` cannot be called: importing `broken` failed: ModuleNotFoundError: No module named 'nonesuch'
  --> tasks.toml:19:10
   |
19 | python = "broken:call"
   |          ^^^^^^^^^^^^^
   = at {here}/broken.py:2: from nonesuch import something

error[python-import]: `syntax:call` of task `syntax` cannot be called: `syntax` does not compile: invalid syntax
  --> tasks.toml:21:10
   |
21 | python = "syntax:call"
   |          ^^^^^^^^^^^^^
   = at {here}/syntax.py:2:10: def call(:

error[python-import]: `nowhere.deep:call` of task `nowhere` cannot be called: there is no module `nowhere`
  --> tasks.toml:23:10
   |
23 | python = "nowhere.deep:call"
   |          ^^^^^^^^^^^^^^^^^^^

found 15 errors in tasks.toml
"""


def test_all_mistakes_of_python_tasks_are_told_at_once_before_anything_starts(project):
    project.write("m.py", TARGETS)
    project.write("broken.py", "import os\nfrom nonesuch import something\n")
    project.write("syntax.py", "import os\ndef call(:\n    pass\n")
    project.tasks("""\
[tasks.resize]
python = "m:resize"
args = { path = 3, width = -1, mode = "stretch", colour = "green", box = { width = "x" }, quality = 9 }
[tasks.missing]
python = "m:resize"
args = { path = "a" }
[tasks.many]
python = "m:plain"
args = [1, 2, 3]
[tasks.async]
python = "m:later"
[tasks.generator]
python = "m:generate"
[tasks.typo]
python = "m:reszie"
[tasks.number]
python = "m:number"
[tasks.broken]
python = "broken:call"
[tasks.syntax]
python = "syntax:call"
[tasks.nowhere]
python = "nowhere.deep:call"
[tasks.first]
run = ["touch", "started"]
""")
    finished = project.taskrun("run", "first", "*").exits(2).prints_exactly("")
    assert finished.stderr == MISTAKES.lstrip("\n").replace("{here}", str(project.path))
    assert sorted(os.listdir(project.path)) == ["broken.py", "m.py", "syntax.py", "tasks.toml"]
    events = project.taskrun("run", "--events", "-", "*").exits(2).json_lines()
    assert [event["event"] for event in events] == ["diagnostic"] * 15 + ["run.end"]


def test_key_value_fills_what_arguments_leave_open(project):
    project.write("m.py", "def call(path: str, width: int, deep: bool = False):\n    return [path, width, deep]\n")
    project.tasks(
        "[tasks.a]\npython = 'm:call'\nargs = { path = 'p' }\n[tasks.b]\npython = 'm:call'\nargs = ['q', 5]\n"
    )
    ends, _finished = run(project, "a", "b", "width=7", "deep=true")
    assert [ends[task]["result"] for task in "ab"] == [["p", 7, True], ["q", 5, True]]
    project.taskrun("run", "a").exits(2).says("missing argument", "`m:call` takes path, width, [deep]")
    project.taskrun("run", "a", "width=wide").exits(2).says("argument `width` of `m:call` in task `a`: expected `int`")
    project.taskrun("run", "a", "width=7", "path=x").exits(2).says("`path` is fixed by the `args` of `a`")
    project.taskrun("run", "a", "width=7", "wide=3").exits(2).says(
        "nothing in this run knows `wide`; did you mean `width`?"
    )


def test_modules_that_print_or_leave_something_behind_at_import(project):
    project.write(
        "noisy.py", 'import sys\nprint("one")\nprint("two", file=sys.stderr)\n\ndef call():\n    print("called")\n'
    )
    project.write("leaves.py", "file = open(__file__)\n\ndef call():\n    return file.readline()\n")
    project.write(
        "ends.py",
        "import os\nif os.environ.get('TASKRUN_TASK') is None:\n    os._exit(3)\n\ndef call():\n    return 1\n",
    )
    project.write("fine.py", "def call():\n    return 2\n")
    names = ("noisy", "leaves", "ends", "fine")
    project.tasks("".join(f'[tasks.{name}]\npython = "{name}:call"\n' for name in names))
    ends, finished = run(project, *names)
    finished.succeeds()
    assert ends["leaves"]["result"] == "file = open(__file__)\n"
    for text in (
        f"module `leaves` leaves {project.path}/leaves.py open: it is imported anew for each task",
        "module `ends` ends the process with status 3 while it is imported: it is imported anew for each task",
        "imports printed: one",
        "imports printed: two",
    ):
        assert f"taskrun: warning: {text}\n" in finished.stderr
    project.taskrun("run", "noisy").succeeds().prints_exactly("called\n")


PATCHED = """
import taskrun.execute.inspection, taskrun.execute.python_call
taskrun.execute.inspection.IMPORT_TIMEOUT = taskrun.execute.python_call.IMPORT_TIMEOUT = 0.7
from taskrun.__main__ import main
main()
"""


def test_a_hanging_import_is_bounded(project):
    project.write("hangs.py", "import time\ntime.sleep(67.25)\n\ndef call(): ...\n")
    project.write(
        "hangs_in_workers.py", POLITE + "if 'TASKRUN_TASK' in os.environ: time.sleep(67.25)\nelse: os._exit(1)\n"
    )
    project.tasks('[tasks.a]\npython = "hangs:call"\n[tasks.b]\npython = "hangs_in_workers:left"\n')
    patched = project.write("patched.py", PATCHED)
    project.command = (sys.executable, str(patched))
    project.taskrun("run", "a").exits(2).says("importing `hangs` had not ended after 0.7 s")
    finished = project.taskrun("run", "b").exits(124).says("its imports had not ended after 700ms")
    finished.never_says("timed out after")
    project.expect_nothing_left()


# --- interpreters


@pytest.fixture
def venv(tmp_path):
    """Another interpreter that has taskrun: a virtual environment of the one that runs the tests."""
    import venv

    folder = tmp_path / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python3.*/site-packages")
    roots = (os.path.dirname(os.path.dirname(module.__file__)) for module in (taskrun, msgspec))
    (site / "paths.pth").write_text("".join(f"{root}\n" for root in roots))
    (site / "taskrun_cli-0.dist-info").mkdir()
    return folder


WHERE = "import os, sys\n\ndef call():\n    print('out')\n    return [sys.prefix, os.getcwd(), sys.path[0]]\n"


@pytest.mark.parametrize("how", ["[run] python", "VIRTUAL_ENV", ".venv beside the file"])
def test_python_tasks_run_in_the_chosen_interpreter(project, venv, how):
    project.write("sub/m.py", WHERE)
    here = project.path / "sub"
    toml = "[tasks.a]\npython = 'm:call'\n"
    env = {"PYTHONPATH": project.env["PYTHONPATH"]}
    if how == "[run] python":
        toml = "[run]\npython = '../../venv/bin/python'\n" + toml
    elif how == "VIRTUAL_ENV":
        env["VIRTUAL_ENV"] = str(venv)
    else:
        (here / ".venv").symlink_to(venv)
    project.write("sub/tasks.toml", toml)
    ends, _finished = run(project, "a", cwd="sub", env=env)
    prefix, cwd, path = ends["a"]["result"]
    assert os.path.samefile(prefix, venv)
    assert (cwd, path) == (str(here), str(here))


def test_an_interpreter_that_cannot_be_used_is_told_before_anything_starts(project, tmp_path):
    project.write("m.py", WHERE)
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nunset PYTHONPATH\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    for path, says in (("nowhere/python", "nowhere/python"), (str(bare), "taskrun")):
        project.tasks(
            f"[run]\npython = '{path}'\n[tasks.a]\npython = 'm:call'\n[tasks.b]\nrun = ['touch', 'started']\n"
        )
        finished = project.taskrun("run", "b", "a").exits(2).says("Python tasks cannot be inspected", says)
        finished.never_says('Traceback (most recent call last):\n  File "/')
        project.taskrun("run", "b").succeeds()
        os.unlink(project.path / "started")
