"""Reads the code blocks of a Markdown page, and the HTML comments before them that tell the tests what to do.

<!-- file: tasks.toml -->      the block is written to that file
<!-- fragment -->              the block is part of a file, and is not loaded
<!-- broken -->                the block is a file that is refused when it is loaded
<!-- broken: why -->           the block is a file that loads, and is refused later
<!-- run --> or <!-- run: status 2 --> or <!-- run: needs ffmpeg -->      the block is run
<!-- output -->                the block is what the command before it writes; `...` stands for anything
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_FENCE = re.compile(r"(`{3,})(\w*)\s*$")
_MARK = re.compile(r"<!--\s*(fragment|broken|file|run|output)(?:\s*:\s*(.*?))?\s*-->\s*$")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        line: Of its opening fence, from 1.
        marks: What the comments directly before it say, such as ``{"run": "status 2"}``.
    """

    line: int
    language: str
    text: str
    marks: dict[str, str]


def blocks(page: str) -> Iterator[Block]:
    """The blocks in order. Raises ValueError for a fence that is not closed, and a mark without a block."""
    lines = iter(enumerate(page.splitlines(), 1))
    marks: dict[str, str] = {}
    for number, line in lines:
        if mark := _MARK.match(line):
            marks[mark[1]] = mark[2] or ""
        elif fence := _FENCE.match(line):
            body: list[str] = []
            for _, inner in lines:
                if inner.rstrip() == fence[1]:
                    break
                body.append(inner)
            else:
                raise ValueError(f"the block at line {number} is not closed")
            yield Block(number, fence[2], "".join(f"{each}\n" for each in body), marks)
            marks = {}
        elif line.strip() and marks:
            raise ValueError(f"line {number}: the comment before it belongs to no block")


def matches(expected: str, output: str) -> bool:
    """Whether the lines of ``expected`` stand in the output in this order; `...` stands for anything in a line."""
    lines = iter(output.splitlines())
    return all(
        any(re.fullmatch(re.escape(wanted.rstrip()).replace(r"\.\.\.", ".*"), line.rstrip()) for line in lines)
        for wanted in expected.splitlines()
        if wanted.strip()
    )
