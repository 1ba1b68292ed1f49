"""The page of the faults and the tests name each other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "design" / "faults.md").read_text(encoding="utf-8")
QUEUE = (ROOT / "docs" / "design" / "queue.md").read_text(encoding="utf-8")


def names_in(folder: Path) -> set[str]:
    return {
        node.name
        for path in folder.rglob("test_*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_every_test_that_the_pages_name_exists():
    named = set(re.findall(r"`(test_\w+)`", PAGE + QUEUE))
    assert named - names_in(ROOT / "tests") == set()


def test_the_page_names_every_test_of_a_row():
    rows = {name for name in names_in(ROOT / "tests" / "faults") if re.match(r"test_[a-f]\d+_", name)}
    assert {name for name in rows if f"`{name}`" not in PAGE} == set()


def test_a_row_stands_in_the_table_of_its_letter_and_names_a_test_of_its_own_or_says_why_not():
    for letter, section in re.findall(r"^## ([A-F]) .*?$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL):
        for row in re.findall(r"^\| *([A-F]\d+) *\|.*$", section, re.MULTILINE):
            assert row.startswith(letter), f"{row} stands under {letter}"
