r"""Bytes to segments: cut after newlines, carriage returns and backspaces. It neither decodes nor drops a byte.

Programs redraw a line with ``\r`` (tqdm, ffmpeg) or with backspaces (7-Zip), so these end a segment as a newline does.
"""

from __future__ import annotations

import re

LONGEST = 64 * 1024
"""Bytes of text after which a line is cut, so that a line without an end costs bounded memory."""

ENDS = b"\r\n\b"
_SEAM = 16  # as long as anything that is sought, less a byte


class Splitter:
    r"""Cuts one stream into segments, each with its end (``\n``, ``\r\n``, ``\r`` or backspaces).

    However the stream comes in pieces: the segments joined, with ``flush`` at the end, are its bytes; and the segments
    that are not empty but for their ends hold the same texts in the same order. An end that is split over two pieces
    (``\r`` and then ``\n``) yields a segment without text, since a redrawn line must not wait for the next one to be
    seen. A line longer than ``LONGEST`` comes in several segments, all but the last without an end, cut between
    characters where it is UTF-8.
    """

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Takes the next bytes and returns the segments that are complete."""
        if not data:
            return []
        segments = data.splitlines(keepends=True)
        if b"\b" in data:
            segments = _cut_at_backspaces(segments)
        if len(data) > LONGEST:
            return self._join(segments)
        complete: list[bytes] = []
        if self._held:
            complete = self._join(segments[:1])
            del segments[0]
        if segments and segments[-1][-1] not in ENDS:
            self._held += segments.pop()
        return complete + segments

    def skip(self, data: bytes, without: tuple[bytes, ...]) -> bool:
        """Takes the next bytes unsplit, if they and the line that they go on from have none of certain bytes in them.

        Returns:
            ``False``: they have, and were not taken.
        """
        held = self._held
        seam = held[-_SEAM:] + data[:_SEAM]
        if any(sought in data or sought in held or sought in seam for sought in without):
            return False
        end = 1 + max(data.rfind(b"\n"), data.rfind(b"\r"), data.rfind(b"\b"))
        if end:
            held[:] = data[end:]
        else:
            held += data
        del held[:-LONGEST]
        return True

    def flush(self) -> list[bytes]:
        """Returns what has no end yet, if anything: at the end of the stream."""
        if not self._held:
            return []
        rest = bytes(self._held)
        self._held.clear()
        return [rest]

    def _join(self, segments: list[bytes]) -> list[bytes]:
        """The careful way: a line goes on from the piece before, or one may be too long."""
        complete: list[bytes] = []
        held = self._held
        for segment in segments:
            held += segment
            ended = segment[-1] in ENDS
            while len(held) > LONGEST and _text_length(held, ended=ended) > LONGEST:
                at = _between_characters(held, LONGEST)
                complete.append(bytes(held[:at]))
                del held[:at]
            if ended:
                complete.append(bytes(held))
                held.clear()
        return complete


def text_of(segment: bytes) -> bytes:
    """The segment without its end."""
    return segment.rstrip(ENDS)


def _cut_at_backspaces(segments: list[bytes]) -> list[bytes]:
    cut: list[bytes] = []
    for segment in segments:
        if b"\b" in segment:
            cut += re.findall(rb"[^\x08]*\x08+|[^\x08]+", segment)
        else:
            cut.append(segment)
    return cut


def _text_length(segment: bytearray, *, ended: bool) -> int:
    return len(segment.rstrip(ENDS)) if ended else len(segment)


def _between_characters(data: bytearray, at: int) -> int:
    """The last place not after ``at`` where no UTF-8 character is split; ``at`` itself where it is no UTF-8."""
    for back in range(4):
        if data[at - back] & 0xC0 != 0x80:
            return at - back
    return at
