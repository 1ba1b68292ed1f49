"""Bytes to text, and text made harmless for a terminal. Nothing here may change what is recorded."""

from __future__ import annotations

import codecs
import functools
import re

_utf8_decoder = codecs.getincrementaldecoder("utf-8")
RESET = "\x1b[0m"


class TextDecoder:
    """Decodes one stream as UTF-8, piece by piece, and never raises.

    A character split over two pieces is joined; what is no UTF-8 becomes U+FFFD.
    """

    def __init__(self) -> None:
        self._decoder = _utf8_decoder(errors="replace")

    def decode(self, data: bytes, *, final: bool = False) -> str:
        """The text of the next bytes; with ``final``, a character cut short at the end becomes U+FFFD too."""
        return self._decoder.decode(data, final)


@functools.cache
def _controls() -> re.Pattern[str]:
    """Everything that a terminal obeys rather than shows, one sequence a match; group 1 is what a SGR sequence says.

    Sequences that are cut short at the end match to the end: half a sequence would swallow what is shown after it.
    """
    return re.compile(
        r"\x1b\[([0-9;:]*)m"  # SGR: colours and weights
        r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*(?:[@-~]|$)"  # other CSI: cursor, erasing, modes
        r"|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|\x1b?$)?"  # OSC, DCS and others: titles, links
        r"|\x1b[ -/]*(?:[0-~]|$)"  # other escapes: character sets, keypads, resets
        r"|[\x00-\x08\x0a-\x1f\x7f-\x9f]"  # control characters, but tab
    )


def strip_control(text: str, *, colour: bool = True) -> str:
    """One line for display: cursor movements, erasing, titles, bells and other control characters are gone.

    Args:
        text: A line without its end.
        colour: Keep colours and weights (SGR), and put a reset at the end where they would run on.
    """
    if text.isprintable():  # by far the most lines, at a tenth of the price
        return text
    last = ""

    def replace(match: re.Match[str]) -> str:
        nonlocal last
        if not colour or match[1] is None:
            return ""
        last = match[1]
        return match[0]

    stripped = _controls().sub(replace, text)
    return stripped + RESET if last.strip("0;:") else stripped


def for_people(text: str, longest: int = 500) -> str:
    """A message that a task sent, as one harmless line of bounded length, without colour."""
    clean = strip_control(text, colour=False).strip()
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"
