"""What commands import: start-up time is what is imported, and a clock in a test would only measure the machine."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

# Runs the command line in this process, and then writes to stderr what it has imported, and executed too: a module that
# waits for its first use has a __getattr__ of the entry's.
_TELL = """
import os, sys
import taskrun.__main__
sys.argv[0] = "taskrun"
runner, leave = os.getpid(), os._exit
def is_waiting(module):
    return getattr(vars(module).get("__getattr__"), "__module__", "") == "taskrun.__main__"
def tell(status):
    if os.getpid() == runner:
        sys.stdout.flush()
        sys.stderr.write("".join(f"@{name}\\n" for name, module in sys.modules.items() if not is_waiting(module)))
        sys.stderr.flush()
    leave(status)
os._exit = tell
taskrun.__main__.main()
"""

TASKS = """
    [vars]
    target = { type = "str", choices = ["staging", "production"], default = "staging", help = "where to" }
    [tasks.a]
    description = "First"
    run = ["true"]
    [tasks.b]
    needs = ["a"]
    shell = "true"
"""


def imported(project, *arguments: str, env: dict[str, str] | None = None) -> set[str]:
    """Top-level names of what the command has imported."""
    before, project.command = project.command, (sys.executable, "-c", _TELL)
    try:
        done = project.taskrun(*arguments, env=env)
    finally:
        project.command = before
    assert done.status in {0, 2}, repr(done)
    assert "@taskrun.cli\n" in done.stderr, repr(done)
    names = {line[1:] for line in done.stderr.splitlines() if line.startswith("@")}
    return names | {name.partition(".")[0] for name in names}


# Each of these costs more than a millisecond, and none has a place in a command that only looks.
HEAVY = {"trio", "rich", "asyncio", "subprocess", "dataclasses", "inspect", "logging", "pathlib", "importlib.metadata"}


@pytest.mark.parametrize(
    "arguments",
    [("list",), ("list", "--json"), (), ("graph",), ("graph", "--format", "dot"), ("runs",), ("jobs", "list")],
    ids=lambda arguments: " ".join(arguments) or "bare",
)
def test_commands_that_look_import_neither_trio_nor_rich(project, arguments):
    project.tasks(TASKS)
    names = imported(project, *arguments)
    assert "msgspec" in names
    assert not names & {"trio", "rich", "asyncio"}, names & HEAVY


@pytest.mark.parametrize("arguments", [("list",), ()], ids=["list", "bare"])
def test_list_imports_nothing_that_it_does_not_need(project, arguments):
    project.tasks(TASKS)
    ours = {name for name in imported(project, *arguments) if name.startswith("taskrun.")}
    assert not {name for name in ours if name.startswith(("taskrun.resolve", "taskrun.run", "taskrun.host"))}


def test_a_job_of_a_program_is_stored_without_trio_and_without_a_host(project):
    names = imported(project.tasks(TASKS), "enqueue", "b", "target=staging")
    assert "sqlite3" in names
    strangers = {"trio", "rich", "asyncio", "subprocess", "logging", "taskrun.host", "taskrun.link", "taskrun.run"}
    assert not names & strangers, names & strangers


FILE_MODEL = {"taskrun.config.kinds", "taskrun.config.parts", "taskrun.config.task_model", "taskrun.config.model"}


@pytest.mark.parametrize("arguments", [("list",), ("graph",), ("check",), ("run", "a")], ids=" ".join)
def test_a_file_of_the_usual_kinds_is_read_without_the_file_model(project, arguments):
    project.tasks(TASKS)
    assert not imported(project, *arguments) & FILE_MODEL


def test_a_file_with_anything_else_is_checked_by_the_file_model(project):
    project.tasks(TASKS + 'timeout = "1h30m"')
    assert imported(project, "list") >= FILE_MODEL


def test_a_run_of_programs_imports_nothing_for_what_it_has_not(project):
    project.tasks(TASKS)
    names = imported(project, "run", "b")
    assert {"trio", "taskrun.execute.binary", "taskrun.record.folder"} <= names
    assert "rich" not in names
    unneeded = {
        "taskrun.worker",  # and all in it
        "taskrun.execute.python_call",
        "taskrun.execute.inspection",
        "taskrun.execute.interactive",
        "taskrun.execute.ffmpeg",
        "taskrun.execute.shell_source",
        "taskrun.output.ffmpeg",
        "taskrun.output.parsers",
        "taskrun.output.protocol",
        "taskrun.output.tracker",
        "taskrun.report.live",
        "taskrun.report.step_summary",
        "taskrun.resolve.dotenv",
        "taskrun.config.walk",
        "taskrun.cli.complete",
        "click.shell_completion",
        "difflib",
        "dataclasses",
        "asyncio",
    }
    found = unneeded & names
    assert not found


def test_what_trio_and_others_import_for_nothing_is_not_executed_in_a_run(project):
    project.tasks(TASKS)
    unused = {"ssl", "hmac", "idna", "tokenize", "_ssl", "_hashlib", "ipaddress", "subprocess", "msgspec.inspect"}
    found = unused & imported(project, "run", "a")
    assert not found


def test_a_run_with_a_python_task_does_import_what_that_needs(project):
    project.write("mine.py", "def f(): pass\n")
    project.tasks(TASKS + '[tasks.c]\npython = "mine:f"')
    names = imported(project, "run", "c")
    assert {"taskrun.execute.python_call", "taskrun.execute.inspection", "taskrun.worker.wire"} <= names
    assert "mine" not in names  # user code runs below the host alone


def test_a_python_task_has_an_interpreter_as_python_makes_it(project):
    """What the entry does to be quick is done after the host, from which the workers are forked, is on its own."""
    project.write(
        "mine.py",
        """
import gc, sys
def f():
    import ssl
    print(gc.isenabled(), gc.get_threshold()[0], [type(f).__module__ for f in sys.meta_path], "__getattr__" in vars(ssl))
""",
    )
    project.tasks('[tasks.c]\npython = "mine:f"')
    done = project.taskrun("run", "c")
    assert done.status == 0, repr(done)
    enabled, threshold, finders = done.stdout.split(" ", 2)
    assert (enabled, threshold) == ("True", str(gc.get_threshold()[0]))
    assert "taskrun.__main__" not in finders
    assert finders.endswith("False\n")


def test_check_of_a_file_without_python_tasks_imports_no_trio(project):
    project.tasks(TASKS)
    assert not imported(project, "check") & {"trio", "rich"}


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), ("list", "--help"), ("completion", "bash"), ("init", "--help")],
    ids=" ".join,
)
def test_help_and_completion_scripts_do_not_import_msgspec(project, arguments):
    assert not imported(project, *arguments) & {"msgspec", "trio", "rich"}


def test_completion_of_tasks_does_not_import_msgspec(project):
    project.tasks(TASKS)
    env = {"_TASKRUN_COMPLETE": "bash_complete", "_TASKRUN_LINE": "taskrun run ", "_TASKRUN_BREAKS": " =:"}
    names = imported(project, env=env)
    assert "tomli" in names
    assert not names & {"msgspec", "trio", "rich"}


def test_bytecode_is_not_needed_for_any_of_it(project):
    """The whole run above is without bytecode files; this one proves that the helper tells the truth."""
    project.tasks(TASKS)
    assert {"click", "tomli"} <= imported(project, "list")
    assert os.path.exists(project.path / "tasks.toml")


def test_trio_is_imported_without_a_search_for_libraries():
    """It would start ldconfig; what trio names its threads by is found all the same."""
    code = """
import sys
started = []
sys.addaudithook(lambda event, arguments: started.append(arguments) if event == "subprocess.Popen" else None)
from taskrun.run import import_trio
import_trio()
import ctypes.util, trio
assert started == [], started
assert ctypes.util.find_library.__module__ == "ctypes.util"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
