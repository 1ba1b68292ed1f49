"""Cuts tasks' output into whole lines, cleans and labels it, a block at a time. Pure.

A block is any number of whole lines. Nothing here works line by line unless a block holds something to clean: output
comes at gigabytes a second.
"""

from __future__ import annotations

import functools
import re

from taskrun.output.splitter import LONGEST

_COMPACT = 4096  # bytes of an unfinished line above which it is worth replaying its backspaces
_OWN = b"::taskrun "
_own_lines = re.compile(rb"^::taskrun [^\n]*\n", re.MULTILINE)
_rewritten = re.compile(rb"[^\n]*\r")
_returns_at_end = re.compile(rb"\r+\n")

# What a terminal obeys rather than shows; none of it goes beyond its line, and what is cut short ends with its line.
_SEQUENCES = (
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*(?:[@-~]|$)"  # CSI: cursor, erasing, modes
    r"|\x1b[\]PX^_][^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c|\x1b?$)?"  # OSC, DCS and others: titles, links
    r"|\x1b[ -/]*(?:[0-~]|$)"  # other escapes: character sets, keypads, resets
)
_CONTROLS = r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"  # but tabs and line ends
_COLOUR = r"\x1b\[[0-9;:]*m"


class _Patterns:
    """Compiled when the first line needs them: most runs show nothing but text."""

    def __init__(self) -> None:
        self.colours = re.compile(_COLOUR)
        # A line whose last colour is no reset: it would run on into what others write.
        self.runs_on = re.compile(r"\x1b\[(?!0?m)[0-9;:]*m[^\x1b\n]*$", re.MULTILINE)
        self.without = {
            # (for a terminal, with colours)
            (False, False): re.compile(_SEQUENCES, re.MULTILINE),
            (False, True): re.compile(f"(?!{_COLOUR})(?:{_SEQUENCES})", re.MULTILINE),
            (True, False): re.compile(f"{_SEQUENCES}|{_CONTROLS}", re.MULTILINE),
            (True, True): re.compile(f"(?!{_COLOUR})(?:{_SEQUENCES}|{_CONTROLS})", re.MULTILINE),
        }


_patterns = functools.cache(_Patterns)
_has_controls = re.compile(_CONTROLS).search


class WholeLines:
    """Keeps one stream's unfinished line until its end has come.

    What a carriage return has rewritten is forgotten at once, so that a progress bar takes no room. Of a line that is
    longer than ``longest`` bytes the beginning is shown with ``…``, the rest dropped.
    """

    __slots__ = ("_cut", "_longest", "_rest")

    def __init__(self, longest: int = LONGEST) -> None:
        self._rest = bytearray()
        self._longest = longest
        self._cut = False

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes and returns the lines that are complete now, as one block; it may be empty."""
        if len(data) > self._longest:
            at = range(0, len(data), self._longest)
            return b"".join([self.feed(data[start : start + self._longest]) for start in at])
        end = data.rfind(b"\n") + 1
        if not end:
            self._keep(data)
            return b""
        if not self._rest and not self._cut:
            block = data[:end]
        else:
            first = data.find(b"\n") + 1
            self._keep(data[: first - 1])
            block = self._finished() + data[first:end]
        if end < len(data):
            self._keep(data[end:])
        return block

    def finish(self) -> bytes:
        """The unfinished line, with an end of its own, or nothing."""
        if not self._rest and not self._cut:
            return b""
        return self._finished()

    def _keep(self, data: bytes) -> None:
        rest = self._rest
        if b"\r" in data or rest.endswith(b"\r"):
            rest += data
            self._forget_rewritten()
        elif not self._cut:
            rest += data
        if len(rest) > _COMPACT and b"\b" in data:
            rest[:] = _rub_out(rest.decode(errors="surrogateescape")).encode(errors="surrogateescape")
        if len(rest) > self._longest:
            returned = rest.endswith(b"\r")
            del rest[between_characters(rest, self._longest) :]
            if returned:
                rest += b"\r"
            self._cut = True

    def _forget_rewritten(self) -> None:
        """Returns at the end may be the first part of the line's end: they rewrite only once something follows."""
        rest = self._rest
        end = len(rest.rstrip(b"\r"))
        del rest[end + 1 :]
        rewritten = rest.rfind(b"\r", 0, end) + 1
        if rewritten:
            del rest[:rewritten]
            self._cut = False

    def _finished(self) -> bytes:
        line = self._rest.rstrip(b"\r") + "…\n".encode() if self._cut else self._rest + b"\n"
        self._rest.clear()
        self._cut = False
        return bytes(line)


def between_characters(data: bytes | bytearray, at: int) -> int:
    """The last place not after ``at`` where no UTF-8 character is split; ``at`` itself where it is no UTF-8."""
    for back in range(4):
        if at - back <= 0:
            break
        if data[at - back] & 0xC0 != 0x80:
            return at - back
    return at


def clean(block: bytes, *, terminal: bool, colour: bool) -> bytes:
    """Whole lines as they may be shown.

    Of a line that was rewritten (by carriage returns or backspaces) the last state is left, what is no UTF-8
    becomes U+FFFD, and control sequences are gone but for colours, where these are wanted. Lines for the runner
    (``::taskrun ...``) are left out.

    Args:
        block: Whole lines.
        terminal: It goes to a terminal: single control characters are taken out as well.
        colour: Keep colours; each line ends without one.
    """
    if b":" in block and _OWN in block:
        block = _own_lines.sub(b"", block)
    if b"\r" in block:
        block = _rewritten.sub(b"", _returns_at_end.sub(b"\n", block))
    odd = b"\x1b" in block or b"\b" in block
    if not odd and not terminal and _is_utf8(block):
        return block
    text = block.decode(errors="replace")
    if b"\b" in block:
        text = "\n".join([_rub_out(line) for line in text.split("\n")])
    if odd or _has_controls(text):
        text = _without_controls(text, terminal=terminal, colour=colour)
    return text.encode()


def _without_controls(text: str, *, terminal: bool, colour: bool) -> str:
    patterns = _patterns()
    bare = patterns.colours.sub("", text)
    if "\x1b" in bare or (terminal and _has_controls(bare)):  # not colours alone, which would be the quick case
        text = patterns.without[terminal, colour].sub("", text)
    elif not colour:
        return bare
    return patterns.runs_on.sub("\\g<0>\x1b[0m", text) if colour else text


def _is_utf8(block: bytes) -> bool:
    if block.isascii():
        return True
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True


def _rub_out(text: str) -> str:
    """What is left on a line when backspaces have been typed over."""
    if "\b" not in text:
        return text
    shown: list[str] = []
    for char in text:
        if char != "\b":
            shown.append(char)
        elif shown:
            shown.pop()
    return "".join(shown)


def label(block: bytes, name: bytes, bare: bytes | None = None) -> bytes | memoryview:
    """Puts ``name`` before each line of a block of whole lines.

    Args:
        block: Whole lines, not none.
        name: The label with its separator.
        bare: Lines that begin with this are left as they are: a CI service reads its commands at a line's start only.
    """
    marked = name + block
    if bare is not None and bare in block:
        return _label_but(block, name, bare)
    labelled = marked.replace(b"\n", b"\n" + name)
    return memoryview(labelled)[: len(labelled) - len(name)]


def _label_but(block: bytes, name: bytes, bare: bytes) -> bytes:
    lines = block.splitlines(keepends=True) if b"\r" not in block else [x + b"\n" for x in block.split(b"\n")[:-1]]
    return b"".join([line if line.startswith(bare) else name + line for line in lines])
