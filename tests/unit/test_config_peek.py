"""Completion peeks at the file that loading would find, and never complains."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from taskrun import config
from taskrun.config.peek import peek, read_table
from taskrun.model import TaskrunError

if TYPE_CHECKING:
    from pathlib import Path

TASKS = "[tasks.{}]\nrun = ['true']\n"
PYPROJECT = "[tool.taskrun.tasks.{}]\nrun = ['true']\n"

LAYOUTS = {
    "here": {"a/b/tasks.toml": TASKS.format("here"), "tasks.toml": TASKS.format("above")},
    "above": {"tasks.toml": TASKS.format("above")},
    "pyproject-here": {"a/b/pyproject.toml": PYPROJECT.format("inside"), "tasks.toml": TASKS.format("above")},
    "pyproject-above": {"a/pyproject.toml": PYPROJECT.format("inside")},
    "foreign-pyproject": {"a/b/pyproject.toml": "[tool.ruff]\n", "tasks.toml": TASKS.format("above")},
    "word-in-pyproject": {"a/b/pyproject.toml": "name = 'taskrun'\n", "tasks.toml": TASKS.format("above")},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_looks_where_loading_looks(layout: str, tmp_path: Path):
    cwd = tmp_path / "a" / "b"
    cwd.mkdir(parents=True)
    for name, text in LAYOUTS[layout].items():
        (tmp_path / name).write_text(text)
    project = config.load(config.find(None, {}, str(cwd)))
    table = peek(None, {}, str(cwd))
    assert table is not None
    assert list(table["tasks"]) == list(project.tasks)


def test_named_files_as_loading_names_them(tmp_path: Path):
    (tmp_path / "x.toml").write_text(TASKS.format("x"))
    (tmp_path / "y.toml").write_text(TASKS.format("y"))
    for explicit, environ in (
        ("x.toml", {}),
        (None, {"TASKRUN_FILE": "y.toml"}),
        ("x.toml", {"TASKRUN_FILE": "y.toml"}),
    ):
        table = peek(explicit, environ, str(tmp_path))
        assert table is not None
        assert list(table["tasks"]) == list(config.load(config.find(explicit, environ, str(tmp_path))).tasks)


@pytest.mark.parametrize(
    "data",
    [b"", b"[tasks.a\n", b"\xff", b"\xef\xbb\xbf[tasks.a]\n", b"a = " + b"[" * 20000, b"a = " + b"1" * 5000, b"\0"],
    ids=["empty", "syntax", "encoding", "mark", "deep", "digits", "nul"],
)
def test_nothing_that_a_file_holds_raises(data: bytes, tmp_path: Path):
    path = tmp_path / "tasks.toml"
    path.write_bytes(data)
    table = read_table(str(path))
    try:
        loads = bool(config.load(config.find(str(path), {}, str(tmp_path))).tasks)
    except TaskrunError:
        loads = False
    assert not loads or table


def test_nothing_there_is_none(tmp_path: Path):
    assert peek(None, {}, str(tmp_path)) is None or os.path.exists("/tasks.toml")
    assert peek("gone.toml", {}, str(tmp_path)) is None
    assert read_table(str(tmp_path)) is None
    (tmp_path / "pyproject.toml").write_text("tool = 3 # taskrun")
    assert read_table(str(tmp_path / "pyproject.toml")) is None
