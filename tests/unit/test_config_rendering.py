"""How diagnostics look: the caret stands under what is meant, whatever the line holds; JSON and GitHub get the same."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrun.config import SourceFile, render
from taskrun.model import Diagnostic, Span


def at(text: str, marked: str, **more: object) -> Diagnostic:
    """A diagnostic at the first place of ``marked``."""
    source = SourceFile("tasks.toml", text)
    start = text.index(marked)
    return source.diagnostic_at("code", "message", source.span_at(start, start + len(marked)), **more)


def caret(diagnostic: Diagnostic) -> tuple[str, str]:
    """The line as shown and the carets below it, without the gutter."""
    lines = render([diagnostic]).splitlines()
    return lines[3].partition("| ")[2], lines[4].partition("| ")[2]


def cells(text: str) -> int:
    return sum(
        2 if unicodedata.east_asian_width(char) in "WF" else 0 if unicodedata.combining(char) else 1 for char in text
    )


@pytest.mark.parametrize(
    ("line", "marked"),
    [
        ("a = 1", "1"),
        ("\ta\t=\tx", "x"),
        ("\u65e5\u672c = x", "x"),
        ("e\u0301e\u0301 = x", "x"),
        ("x = \u65e5\u672c", "\u65e5\u672c"),
        ("\u65e5\tx", "x"),
    ],
)
def test_carets_stand_below_what_is_meant(line: str, marked: str):
    shown, carets = caret(at(line, marked))
    before, _, _ = shown.partition(marked)
    assert len(carets) - len(carets.lstrip()) == cells(before)
    assert carets.count("^") == cells(marked)


@given(st.text(st.characters(codec="utf-8"), max_size=300).filter(lambda text: "\n" not in text), st.data())
def test_any_line_can_be_shown_and_nothing_in_it_moves_the_cursor(line: str, data: st.DataObject):
    start = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(start, len(line)))
    source = SourceFile("x", line)
    text = render([source.diagnostic_at("c", line, source.span_at(start, end), label=line, notes=(line,))])
    assert all(char == "\n" or char.isprintable() for char in text)
    assert "^" in text
    assert max(len(each) for each in text.splitlines()) < 300 * 6 + 400


def test_a_long_line_is_cut_around_the_mistake():
    shown, carets = caret(at("x" * 5000 + "HERE" + "y" * 5000, "HERE"))
    assert shown.index("HERE") == carets.index("^^^^")
    assert shown.startswith("...")
    assert shown.endswith("...")
    assert len(shown) < 180


@pytest.mark.parametrize("where", [0, 100, 159, 4990])
def test_a_long_line_is_cut_at_either_end(where: int):
    line = "x" * where + "HERE" + "y" * (5000 - where)
    shown, carets = caret(at(line, "HERE"))
    assert shown.index("HERE") == carets.index("^^^^")


def test_a_place_of_several_lines_shows_the_first():
    shown, carets = caret(at("a = [\n 1,\n]", "[\n 1,\n]"))
    assert (shown, carets) == ("a = [", "    ^")


def test_a_place_past_the_end_of_a_line_has_a_caret():
    source = SourceFile("x", "a =")
    assert caret(source.diagnostic_at("c", "m", source.span_at(3, 3))) == ("a =", "   ^")


def test_diagnostics_are_in_the_order_of_the_file_and_twenty_are_shown():
    source = SourceFile("x", "a\n" * 30)
    some = [source.diagnostic_at("c", f"m{n}", source.span_at(2 * n, 2 * n + 1)) for n in range(30)]
    text = render(some[::-1])
    assert [line for line in text.splitlines() if line.startswith("error")] == [f"error[c]: m{n}" for n in range(20)]
    assert text.endswith("\nand 10 more\n\nfound 30 errors in x\n")


def test_the_closing_line_counts():
    warning = Diagnostic(code="c", message="m", level="warning", file="b")
    error = Diagnostic(code="c", message="m", file="a")
    assert render([error]).endswith("found 1 error in a\n")
    assert render([error, warning]).endswith("found 1 error and 1 warning in 2 files\n")
    assert render([Diagnostic(code="c", message="m")]).endswith("found 1 error\n")
    assert render([warning]).startswith("warning[c]: m\n")


def test_nothing_wrong_says_nothing():
    assert [render([], style=style) for style in ("text", "json", "github")] == ["", "[]\n", ""]


def test_colour_adds_sequences_and_changes_no_character():
    import re

    some = [at("a = 1", "1", label="do it", notes=("help: so",)), Diagnostic(code="c", message="m", label="l")]
    coloured = render(some, color=True)
    assert "\033[" in coloured
    assert re.sub(r"\033\[[0-9;]*m", "", coloured) == render(some)


def test_json_is_one_array_with_every_field():
    [row] = json.loads(render([at("a = 1", "1", label="l", notes=("n",))], style="json"))
    assert row == {
        "level": "error",
        "code": "code",
        "message": "message",
        "label": "l",
        "file": "tasks.toml",
        "line": 1,
        "column": 5,
        "end_line": 1,
        "end_column": 6,
        "source": "a = 1",
        "notes": ["n"],
    }
    assert json.loads(render([Diagnostic(code="c", message="m")], style="json"))[0]["line"] is None
    assert len(json.loads(render([at("a", "a")] * 30, style="json"))) == 30


def test_github_gets_commands_that_nothing_in_a_name_can_break():
    bad = Diagnostic(
        code="c",
        message="50%\r\nm",
        label="a, b: c",
        file="a,b:c.toml",
        span=Span(line=1, column=2, end_line=1, end_column=4),
    )
    assert render([bad], style="github") == (
        "::error file=a%2Cb%3Ac.toml,line=1,endLine=1,col=2,endColumn=4,title=c::50%25%0D%0Am: a, b: c\n"
    )
    long = Diagnostic(
        code="c", message="m", level="warning", file="f", span=Span(line=1, column=2, end_line=3, end_column=1)
    )
    assert render([long], style="github") == "::warning file=f,line=1,endLine=3,title=c::m\n"


def test_github_shows_ten_and_the_tenth_says_how_many_more():
    lines = render([Diagnostic(code="c", message=f"m{n:02}") for n in range(25)], style="github").splitlines()
    assert len(lines) == 10
    assert lines[-1] == "::error title=taskrun::and 16 more mistakes"


def test_an_unknown_style_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="no such style"):
        render([], style="xml")
