"""Lines and the live area on their way to the writer: whoever shares a terminal goes through here.

It keeps lines whole where several things are written to one place, and the live area below them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.report.text import cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskrun.report.settings import Settings
    from taskrun.report.writer import Buffer, Source, Writer

_CLEAR = "\x1b[J"  # from the cursor to the end of the screen
_CLEAR_LINE = "\x1b[K"
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_PLAIN = "\x1b[0m"
_FRAME_HOLDS = 64 << 10  # bytes of lines that wait for the next frame


class Screen:
    """Where everything that people read goes.

    The live area lies on descriptor 2 and ends with a newline, so that the cursor stands at the beginning of the line
    below it. It is hidden only within the single write of a frame: whoever is killed, even by SIGKILL, leaves a
    visible cursor on a line of its own. A key that sends a signal makes a terminal forget what it has not shown yet,
    which may be the second half of a frame: so whoever gets the terminal after us gets the cursor shown once more.
    """

    def __init__(self, writer: Writer, settings: Settings) -> None:
        self.writer = writer
        self._status_fd = settings.status_fd
        self._ttys = {1: settings.stdout_tty, 2: settings.stderr_tty}
        self._middle: set[int] = set()  # descriptors whose last line has no end yet
        self._area: list[str] = []  # rows that are drawn
        self._drawn = False  # a frame was, since the terminal was given back
        self._columns = settings.width
        self._waiting: list[tuple[int, tuple[Buffer, ...]]] = []
        self._waiting_bytes = 0
        self.said = False  # something was written since this was last reset

    def say(self, line: str) -> None:
        """One line of taskrun's own; it must hold no line end.

        Once a reader has gone away, as ``head`` does when it has enough, nothing is said any more, as of any program.
        """
        if self.writer.broken:
            return
        self.write(self._status_fd, line.encode(errors="replace"), b"\n")

    def write(self, fd: int, *pieces: Buffer) -> None:
        """Whole lines for a descriptor. Beside a live area they wait for the next frame, which is soon."""
        self.said = True
        if self._area and self._ttys.get(fd, False):
            self._waiting.append((fd, pieces))
            self._waiting_bytes += sum(map(len, pieces))
            if self._waiting_bytes > _FRAME_HOLDS:
                self.erase()
            return
        if fd in self._middle:
            self._middle.discard(fd)
            self.writer.write(fd, b"\n", *pieces)
        else:
            self.writer.write(fd, *pieces)

    def write_raw(self, fd: int, data: Buffer) -> None:
        """Bytes as they are, perhaps in the middle of a line."""
        if not data:
            return
        if self._ttys.get(fd, False):
            self.erase()
        self.writer.write(fd, data)
        if data[-1] == 0x0A:
            self._middle.discard(fd)
        else:
            self._middle.add(fd)
        self.said = True

    def write_from(self, source: Source) -> None:
        """Whole lines for several descriptors, made while they are written."""
        self.erase()
        for fd in sorted(self._middle):
            self.writer.write(fd, b"\n")
        self._middle.clear()
        self.writer.write_from(source)
        self.said = True

    def draw(self, rows: Sequence[str], columns: int) -> None:
        """Replaces the live area, below the lines that have come since. Nothing is written if nothing has changed.

        Each row must fit into ``columns``, and hold no control sequence but colours.
        """
        if self._waiting or columns != self._columns:
            self._columns = columns
            self.erase()
        elif rows == self._area:
            return
        if not rows:
            self.erase()
            return
        frame = [_HIDE, self._to_top(), *(f"{row}{_CLEAR_LINE}\n" for row in rows), _CLEAR, _SHOW]
        self.writer.write(2, "".join(frame).encode(errors="replace"))
        self._area = list(rows)
        self._drawn = True

    def erase(self) -> None:
        """Takes the live area away, and writes the lines that waited."""
        if not self._area:
            return
        self.writer.write(2, (self._to_top() + _CLEAR).encode())
        self._area = []
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for fd, pieces in waiting:
            self.writer.write(fd, *pieces)

    def give_back(self) -> None:
        """Takes the live area away, and leaves the terminal to others as it is without us."""
        self.erase()
        if self._drawn:
            self.writer.write(2, (_PLAIN + _SHOW).encode())
            self._drawn = False

    def _to_top(self) -> str:
        """Moves the cursor to the first row of the area. A terminal that became narrower has broken its rows."""
        height = sum(max(1, -(-_width(row) // max(1, self._columns))) for row in self._area)
        return f"\r\x1b[{height}A" if height else "\r"


def _width(row: str) -> int:
    if "\x1b" in row:
        from taskrun.output.text import strip_control

        row = strip_control(row, colour=False)
    return cells(row)
