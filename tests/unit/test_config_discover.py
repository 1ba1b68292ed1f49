"""Which file is the project, and what is said where there is none, or it cannot be read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from taskrun import config
from taskrun.config import discover
from taskrun.model import ProjectError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

TASKS = '[tasks.a]\nshell = "x"\n'
OURS = '[project]\nname = "x"\n[tool.taskrun.tasks.a]\nshell = "x"\n'
NOT_OURS = '[project]\nname = "x"\n[tool.ruff]\nline-length = 120\n'


def refused(explicit: str | None, cwd: Path, **environ: str) -> str:
    """What is said where no file is found or it cannot be loaded."""
    with pytest.raises(ProjectError) as caught:
        config.load(config.find(explicit, environ, str(cwd)))
    return config.render(caught.value.diagnostics)


def test_the_nearest_file_upwards_is_the_project(tmp_path: Path):
    (tmp_path / "tasks.toml").write_text(TASKS)
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    found = config.find(None, {}, str(deep))
    assert (found.path, found.root, found.table) == (str(tmp_path / "tasks.toml"), str(tmp_path), ())
    (tmp_path / "a" / "tasks.toml").write_text(TASKS)
    assert config.find(None, {}, str(deep)).root == str(tmp_path / "a")
    assert config.load(config.find(None, {}, str(deep))).root == str(tmp_path / "a")


def test_a_pyproject_counts_only_with_our_table(tmp_path: Path):
    (tmp_path / "tasks.toml").write_text(TASKS)
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text(NOT_OURS)
    assert config.find(None, {}, str(inner)).root == str(tmp_path)
    (inner / "pyproject.toml").write_text('[project]\ndependencies = ["taskrun-cli"]\n')
    assert config.find(None, {}, str(inner)).root == str(tmp_path)
    (inner / "pyproject.toml").write_text(OURS)
    found = config.find(None, {}, str(inner))
    assert (found.shown, found.root, found.table) == ("pyproject.toml", str(inner), ("tool", "taskrun"))
    assert list(config.load(found).tasks) == ["a"]


def test_two_files_in_one_folder_are_a_mistake(tmp_path: Path):
    (tmp_path / "tasks.toml").write_text(TASKS)
    (tmp_path / "pyproject.toml").write_text(OURS)
    assert "has both tasks.toml and a pyproject.toml" in refused(None, tmp_path)
    assert config.find("tasks.toml", {}, str(tmp_path)).table == ()
    assert config.find("pyproject.toml", {}, str(tmp_path)).table == ("tool", "taskrun")


def test_a_broken_pyproject_beside_a_tasks_toml_is_not_our_affair(tmp_path: Path):
    (tmp_path / "tasks.toml").write_text(TASKS)
    (tmp_path / "pyproject.toml").write_text("[tool.taskrun")
    assert config.find(None, {}, str(tmp_path)).table == ()


def test_a_broken_pyproject_that_speaks_of_us_is_reported(tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text("[tool.taskrun.tasks.a]\nshell = x\n")
    assert "pyproject.toml:2:9" in refused(None, tmp_path)


def test_the_option_beats_the_variable_and_the_variable_beats_the_folder(tmp_path: Path):
    for name in ("tasks.toml", "b.toml", "c.toml"):
        (tmp_path / name).write_text(TASKS)
    environ = {"TASKRUN_FILE": "b.toml"}
    assert config.find("c.toml", environ, str(tmp_path)).shown == "c.toml"
    assert config.find(None, environ, str(tmp_path)).shown == "b.toml"
    assert config.find(None, {"TASKRUN_FILE": ""}, str(tmp_path)).shown == "tasks.toml"


def test_a_file_that_is_named_and_missing_says_where_the_name_came_from(tmp_path: Path):
    assert refused("no.toml", tmp_path) == "error[file]: no.toml does not exist\n\nfound 1 error in no.toml\n"
    assert refused(None, tmp_path, TASKRUN_FILE="no.toml") == (
        "error[file]: no.toml does not exist\n  = note: the name is from $TASKRUN_FILE\n\nfound 1 error in no.toml\n"
    )


def test_a_folder_instead_of_a_file(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    assert "sub is a folder\n  = help: name a file in it" in refused("sub", tmp_path)
    (tmp_path / "sub" / "tasks.toml").write_text(TASKS)
    assert f"help: did you mean {os.path.join('sub', 'tasks.toml')}?" in refused("sub", tmp_path)


def test_a_folder_called_tasks_toml_is_passed_over(tmp_path: Path):
    (tmp_path / "tasks.toml").write_text(TASKS)
    (tmp_path / "sub" / "tasks.toml").mkdir(parents=True)
    assert config.find(None, {}, str(tmp_path / "sub")).root == str(tmp_path)


def test_a_link_to_nowhere_says_so(tmp_path: Path):
    (tmp_path / "tasks.toml").symlink_to("gone.toml")
    assert "tasks.toml is a symbolic link to gone.toml, which does not exist" in refused(None, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path):
    (tmp_path / "tasks.toml").write_text(TASKS)
    (tmp_path / "tasks.toml").chmod(0)
    assert "tasks.toml cannot be read: permission denied" in refused(None, tmp_path)


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 5000])
def test_names_that_no_file_can_have(name: str, tmp_path: Path):
    assert refused(name, tmp_path).startswith("error[file]: ")


def test_a_pyproject_that_is_named_and_has_no_table_of_ours(tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text(NOT_OURS)
    assert "pyproject.toml has no table [tool.taskrun]" in refused("pyproject.toml", tmp_path)


@pytest.mark.parametrize("text", ["[tool]\ntaskrun = 1\n", "tool = 1 # taskrun\n"])
def test_a_table_that_is_no_table(text: str, tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text(text)
    assert refused("pyproject.toml", tmp_path).startswith(("error[wrong-type]", "error[no-tasks]"))


def test_no_file_anywhere_says_how_to_begin(tmp_path: Path):
    with pytest.raises(config.NoProjectFile, match="taskrun init") as caught:
        config.find(None, {}, str(tmp_path))
    assert isinstance(caught.value, UsageError)
    assert str(tmp_path) in str(caught.value)


def test_a_working_directory_that_is_gone_is_one_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match="working directory does not exist any more"):
        config.find(None, {})
    with pytest.raises(UsageError, match="working directory"):
        discover.working_directory()


def test_a_name_is_shown_relative_where_that_is_shorter(tmp_path: Path):
    (tmp_path / "tasks.toml").write_text(TASKS)
    far = tmp_path.joinpath(*["x"] * 40)
    far.mkdir(parents=True)
    assert config.find(None, {}, str(tmp_path / "x")).shown == "../tasks.toml"
    assert config.find(None, {}, str(far)).shown == str(tmp_path / "tasks.toml")


def test_a_pipe_can_be_the_file_and_paths_start_at_the_working_directory(tmp_path: Path):
    reading, writing = os.pipe()
    try:
        os.write(writing, TASKS.encode())
        os.close(writing)
        project = config.load(config.find(f"/dev/fd/{reading}", {}, str(tmp_path)))
        assert (list(project.tasks), project.root) == (["a"], str(tmp_path))
    finally:
        os.close(reading)


# --- bytes ------------------------------------------------------------------------------------------------------------


def loaded(data: bytes, folder: Path) -> config.Project:
    (folder / "tasks.toml").write_bytes(data)
    return config.load(config.find(None, {}, str(folder)))


def test_a_byte_order_mark_and_line_ends_of_windows_are_fine(tmp_path: Path):
    plain = loaded(TASKS.encode(), tmp_path).tasks
    assert loaded(b"\xef\xbb\xbf" + TASKS.encode(), tmp_path).tasks == plain
    assert loaded(TASKS.replace("\n", "\r\n").encode(), tmp_path).tasks == plain
    assert loaded(b"tasks.a.shell = '''x\r\ny'''", tmp_path).tasks["a"].shell == "x\ny"


def test_a_byte_order_mark_does_not_move_the_columns(tmp_path: Path):
    (tmp_path / "tasks.toml").write_bytes(b'\xef\xbb\xbf[tasks.a]\r\nshell = "x"\r\nnope = 1\r\n')
    assert "tasks.toml:3:1\n" in refused(None, tmp_path)
    (tmp_path / "tasks.toml").write_bytes(b"\xef\xbb\xbfnope = 1\r\n")
    assert "tasks.toml:1:1\n" in refused(None, tmp_path)


def test_bytes_that_are_not_utf_8_are_shown_where_they_are(tmp_path: Path):
    (tmp_path / "tasks.toml").write_bytes(b'[tasks.a]\r\n# \xc3\xa9\r\nshell = "caf\xe9 \xc3\xa9"\r\n')
    assert refused(None, tmp_path) == (
        "error[encoding]: not UTF-8: the byte 0xe9 is not allowed here\n"
        " --> tasks.toml:3:13\n"
        "  |\n"
        '3 | shell = "caf\ufffd \u00e9"\n'
        "  |             ^ save the file as UTF-8\n"
        "\n"
        "found 1 error in tasks.toml\n"
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_other_encodings_are_called_by_their_name(encoding: str, tmp_path: Path):
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    (tmp_path / "tasks.toml").write_bytes(mark + TASKS.encode(encoding))
    assert f"tasks.toml is {encoding[:6].upper()}, not UTF-8" in refused(None, tmp_path)


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\n\n# nothing\n"])
def test_an_empty_file_says_how_to_begin(data: bytes, tmp_path: Path):
    (tmp_path / "tasks.toml").write_bytes(data)
    assert "tasks.toml defines no task\n  = help: begin with" in refused(None, tmp_path)


def test_a_lonely_carriage_return_has_its_message(tmp_path: Path):
    (tmp_path / "tasks.toml").write_bytes(b'[tasks.a]\rshell = "x"\r')
    assert refused(None, tmp_path).startswith("error[syntax]: ")
