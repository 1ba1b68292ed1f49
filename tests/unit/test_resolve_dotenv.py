"""Dotenv files: what is read, and where a mistake is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.resolving import mistake, mistakes, resolve

from taskrun.resolve.dotenv import read


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("\n\n# nothing\n  # here\n", {}),
        ("A=1", {"A": "1"}),
        ("A=1\nA=2\n", {"A": "2"}),
        ("export A=1", {"A": "1"}),
        ("  A = b c  ", {"A": "b c"}),
        ("A=", {"A": ""}),
        ("A= # none", {"A": ""}),
        ("A=b#c", {"A": "b#c"}),
        ("A=b #c", {"A": "b"}),
        ("A='b #c' # d", {"A": "b #c"}),
        ('A="b\\nc\\t\\"\\\\ \\$x \\q"', {"A": 'b\nc\t"\\ $x \\q'}),
        ("A='b\\n$x'", {"A": "b\\n$x"}),
        ('A="two\nlines"\nB=1', {"A": "two\nlines", "B": "1"}),
        ("A='two\nlines'", {"A": "two\nlines"}),
        ('A="one \\\nline"', {"A": "one line"}),
        ("A=$HOME `x` $(y)", {"A": "$HOME `x` $(y)"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("A=a=b", {"A": "a=b"}),
        ('A=it\'s "so"', {"A": 'it\'s "so"'}),
        ("exporter=1", {"exporter": "1"}),
    ],
)
def test_values(text, values):
    assert read(text, ".env") == (values, [])


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("A=1\nnonsense\nB=2", 2, 1, "expected KEY=VALUE"),
        ("1A=2", 1, 1, "expected KEY=VALUE"),
        ("\nA='open\nB=2", 2, 3, "this quote is not closed"),
        ('A="x" y', 1, 6, "nothing may follow the closing quote"),
    ],
)
def test_mistakes_have_a_place(text, line, column, message):
    values, found = read(text, ".env")
    assert [(each.file, each.span.line, each.span.column, each.message) for each in found] == [
        (".env", line, column, message)
    ]
    assert values == ({"A": "1", "B": "2"} if line == 2 and column == 1 else {"B": "2"} if line == 2 else {})


@given(st.text())
def test_no_text_is_too_strange(text):
    read(text, ".env")


def test_dotenv_fills_what_the_caller_lacks_and_the_later_file_wins(tmp_path):
    (tmp_path / ".env").write_text("A=1\nB=1\nHOME=/other\nC=1\nD=1\n")
    (tmp_path / ".local").write_text("B=2\n")
    found = resolve(
        """
        env = { C = "env" }
        [tasks.t]
        run = ["x", "{{ env.A }}"]
        dotenv = [".env", "?.local", "?.missing"]
        env = { D = "task" }
        """,
        "t",
        root=tmp_path,
    )
    env = found.env("t")
    assert {name: env[name] for name in "ABCD"} == {"A": "1", "B": "2", "C": "env", "D": "task"}
    assert env["HOME"] == "/home/nobody"
    assert found.argv("t") == ["x", "1"]
    assert sorted(found.attempt("t").extra_env) == ["A", "B", "C", "D"]


def test_a_missing_file_is_a_mistake_that_says_how_to_allow_it():
    found = mistake("[tasks.t]\nrun = ['x']\ndotenv = ['.env']", "t")
    assert found.message == "`.env` cannot be read: there is no such file"
    assert "`?`" in found.label


def test_mistakes_in_the_file_are_shown_there_once(tmp_path):
    (tmp_path / ".env").write_text("nonsense\nA='\n")
    text = "[defaults]\ndotenv = ['.env']\n[tasks.a]\nrun = ['x']\n[tasks.b]\nrun = ['x']"
    found = mistakes(text, "a", "b", root=tmp_path)
    assert [(each.file, each.span.line, each.source) for each in found] == [(".env", 1, "nonsense"), (".env", 2, "A='")]


def test_what_is_no_text_is_a_mistake(tmp_path):
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    assert "not UTF-8" in mistake("[tasks.t]\nrun = ['x']\ndotenv = ['.env']", "t", root=tmp_path).message
    (tmp_path / ".env").write_bytes(b"A=a\0b\n")
    assert "NUL" in mistake("[tasks.t]\nrun = ['x']\ndotenv = ['.env']", "t", root=tmp_path).message
