"""What commands import: start-up time is what is imported, and a clock in a test would only measure the machine."""

from __future__ import annotations

import os
import sys

import pytest

# Runs the command line in this process, and then writes to stderr what it has imported.
_TELL = """
import os, sys
sys.argv[0] = "taskrun"
import taskrun.cli
def tell(status):
    sys.stdout.flush()
    sys.stderr.write("".join(f"@{name}\\n" for name in sys.modules))
    sys.stderr.flush()
    os._exit(max(status, 0))
taskrun.cli.leave = tell
import taskrun.__main__
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
    [("list",), ("list", "--json"), (), ("graph",), ("graph", "--format", "dot"), ("runs",)],
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
