"""Whatever stands in a file: it loads, or is refused with diagnostics that can be shown. Nothing else is raised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskrun import config
from taskrun.model import ProjectError

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "config"
TEXTS = [path.read_text(encoding="utf-8") for path in sorted(GOLDEN.glob("*.toml"))]
PIECES = st.sampled_from(
    ["", '"', "'", '"""', "[", "]", "{", "}", "=", ",", "\n", ".", "#", "\\", "\0", " ", "\r", "é", "1", "x"]
)
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), PIECES), max_size=4)


def load(text: str) -> None:
    try:
        config.load_text(text)
    except ProjectError as error:
        diagnostics = error.diagnostics
    else:
        return
    assert diagnostics
    for style in ("text", "json", "github"):
        assert config.render(diagnostics, style=style)
    for each in diagnostics:
        assert each.span is None or (1 <= each.span.line <= text.count("\n") + 2 and each.span.column >= 1)


@given(st.sampled_from(TEXTS), EDITS)
@example(" " * 5 + "=", [])
def test_a_file_with_slips_of_the_hand(text: str, edits: list[tuple[float, int, str]]):
    for where, removed, added in edits:
        position = int(where * len(text))
        text = text[:position] + added + text[position + removed :]
    load(text)


@given(st.text(max_size=80))
def test_any_text(text: str):
    load(text.encode("utf-8", "replace").decode())


@pytest.mark.parametrize("text", TEXTS, ids=[path.stem for path in sorted(GOLDEN.glob("*.toml"))])
def test_a_file_that_ends_too_soon(text: str):
    for end in range(0, len(text), max(1, len(text) // 60)):
        load(text[:end])


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["", "x", "90s"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "run", "env", "x"]), inner, max_size=2)
    ),
)


@given(
    st.sampled_from(["tasks.a", "tasks.a.retry", "vars.x", "tasks.a.foreach.x", "defaults", "run", "tasks.a.when"]),
    JSON,
)
def test_any_value_anywhere(key: str, value: Any):
    load(f"{key} = {inline(value)}\n")


def inline(value: Any) -> str:
    match value:
        case None:
            return "2026-01-01"
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case list():
            return f"[{', '.join(map(inline, value))}]"
        case dict():
            return "{" + ", ".join(f"{key} = {inline(each)}" for key, each in value.items()) + "}"
    return str(value)
