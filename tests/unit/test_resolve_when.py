"""`when`: what rules a task out, and how that is said."""

from __future__ import annotations

import pytest
from support.resolving import resolve

from taskrun.config.project import When
from taskrun.resolve.when import ruled_out


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (When(), None),
        (When(platform=("linux",)), None),
        (When(platform=("macos", "linux")), None),
        (When(platform=("macos",)), "this is linux, not macos"),
        (When(env=("SET",)), None),
        (When(env=("UNSET",)), "UNSET is not set"),
        (When(env=("EMPTY",)), "EMPTY is not set"),
        (When(env=("!SET",)), "SET is set"),
        (When(env=("!UNSET", "!EMPTY")), None),
        (When(env=("SET=yes",)), None),
        (When(env=("SET=no",)), "SET is not no"),
        (When(env=("!SET=no",)), None),
        (When(env=("!SET=yes",)), "SET is yes"),
        (When(env=("SET=a=b",)), "SET is not a=b"),
        (When(env=("SET", "UNSET")), "UNSET is not set"),
        (When(exists=("file",)), None),
        (When(exists=("folder",)), None),
        (When(exists=("fo*/x.*",)), None),
        (When(exists=("none",)), "none does not exist"),
        (When(exists=("*.none",)), "*.none does not exist"),
        (When(exists=("!file",)), "file exists"),
        (When(exists=("!none", "!*.none")), None),
        (When(exists=("[odd]",)), None),
        (When(platform=("linux",), env=("SET",), exists=("none",)), "none does not exist"),
    ],
)
def test_all_that_a_table_says_must_hold(tmp_path, table, reason):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x.y").touch()
    (tmp_path / "[odd]").touch()
    assert ruled_out([table], {"SET": "yes", "EMPTY": ""}, str(tmp_path), "linux") == reason


def test_any_of_several_tables_is_enough():
    no, yes = When(platform=("macos",)), When(platform=("linux",))
    assert ruled_out([], {}, "/", "linux") is None
    assert ruled_out([no, yes], {}, "/", "linux") is None
    assert ruled_out([no, When(env=("A",)), no], {}, "/", "linux") == "this is linux, not macos; A is not set"


def test_it_is_asked_when_the_task_is_due_and_sees_look_ups_and_the_files_environment(tmp_path):
    text = """
        [env]
        MINE = "1"
        [tasks.t]
        foreach.f = ["a", "b"]
        run = ["x"]
        when = { env = ["MINE", "!CI"], exists = "{{ f }}.txt" }
        """
    found = resolve(text, "t", root=tmp_path)
    a = found.selection.instances["t[f=a]"]
    assert found.resolver.ruled_out(a) == "a.txt does not exist"
    (tmp_path / "a.txt").touch()
    assert found.resolver.ruled_out(a) is None
    assert found.resolver.ruled_out(found.selection.instances["t[f=b]"]) == "b.txt does not exist"
    found = resolve(text, "t", root=tmp_path, environ={"CI": "true"})
    assert found.resolver.ruled_out(found.selection.instances["t[f=a]"]) == "CI is set"


def test_without_when_nothing_is_ruled_out():
    found = resolve("[tasks.t]\nrun = ['x']", "t")
    assert found.resolver.ruled_out(found.selection.instances["t"]) is None
