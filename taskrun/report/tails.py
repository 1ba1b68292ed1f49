"""The last output of running tasks, and of those that failed, for the live view and the failure blocks."""

from __future__ import annotations

import re
from collections import deque

from taskrun.events import Stamped, TaskEnd, TaskOutput, TaskRetry
from taskrun.model import Value
from taskrun.output.text import strip_control
from taskrun.report.lines import WholeLines, clean
from taskrun.report.protocol import Reporter
from taskrun.report.words import failed

LINES = 10
"""Lines of a failed task's output that its failure block shows."""

_ENOUGH = 16 << 10  # bytes per attempt that are kept at least, if there are so many
_KEPT = 12  # failed tasks whose tail is kept: the blocks are fewer
_COUNTED = 4 << 20  # bytes in which lines are counted: it would cost a third of what is shown of gigabytes
_PEEK = 2048

# As faulthandler writes them. Texts and not patterns: `re` compiles them where a task has failed, not at the start.
_STACK = r"(?:Current thread|Thread) 0x[0-9a-f]+ .*\(most recent call first\):"
_OWN_FILE = (
    r"<frozen (?:importlib|runpy).*>"
    r"|.*/(?:importlib/__init__\.py|taskrun/(?:(?:host|worker)/\w+|__main__)\.py|bin/taskrun)"
)
_OWN_FRAME = rf'  File "(?:{_OWN_FILE})", line .*'


class Tail(Value, frozen=True, kw_only=True):
    """The last lines of an attempt.

    Attributes:
        lines: Without their ends, as text without control sequences, in the order in which they were complete.
        total: How many there were at least.
        counted: There were no more than ``total``.
    """

    lines: tuple[str, ...] = ()
    total: int = 0
    counted: bool = True


class _Kept:
    """The last pieces of one attempt's output, by reference: nothing is copied while it runs."""

    __slots__ = ("attempt", "ends", "open", "pieces", "seen", "size")

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self.pieces: deque[tuple[str, bytes]] = deque()
        self.size = 0
        self.ends = 0  # newlines seen
        self.open: set[str] = set()  # streams whose last line has no end yet
        self.seen = 0  # bytes

    def add(self, stream: str, data: bytes) -> None:
        self.pieces.append((stream, data))
        self.size += len(data)
        if self.seen < _COUNTED:
            self.ends += data.count(b"\n")
        self.seen += len(data)
        if data.endswith(b"\n"):
            self.open.discard(stream)
        else:
            self.open.add(stream)
        while self.size - len(self.pieces[0][1]) >= _ENOUGH:
            self.size -= len(self.pieces.popleft()[1])

    def tail(self, detail: str = "") -> Tail:
        """The last lines, but for a traceback at the end, which is told by itself."""
        if detail and self.pieces and self.pieces[-1][1] == detail.encode(errors="backslashreplace"):
            _stream, data = self.pieces.pop()
            self.ends -= data.count(b"\n")
        streams = {"stdout": WholeLines(), "stderr": WholeLines()}
        blocks = [streams[stream].feed(data) for stream, data in self.pieces]
        blocks += [lines.finish() for lines in streams.values()]
        text = clean(b"".join(blocks), terminal=True, colour=False).decode()
        every = text.split("\n")[:-1]
        lines = without_own_frames(every)
        if lines and len(lines) <= LINES and self.seen > self.size:
            lines[0] = f"…{lines[0]}"  # what is kept may begin in the middle of it
        total = self.ends + len(self.open) - len(every) + len(lines)
        return Tail(lines=tuple(lines[-LINES:]), total=total, counted=self.seen < _COUNTED)


def without_own_frames(lines: list[str]) -> list[str]:
    """Leaves out of stacks that a dying or hanging worker has written what is below the user's code.

    A worker is a fork, so that its stack goes down to where taskrun began: twenty lines that would push out the few
    that matter. The log has them.
    """
    if not any(re.fullmatch(_STACK, line) for line in lines):
        return lines
    kept: list[str] = []
    in_stack = False
    for line in lines:
        if re.fullmatch(_STACK, line):
            in_stack = True
        elif in_stack and not line.startswith("  "):
            in_stack = False
        if not (in_stack and re.fullmatch(_OWN_FRAME, line)):
            kept.append(line)
    return kept


class Tails(Reporter):
    """A reporter that shows nothing: others ask it."""

    def __init__(self) -> None:
        self._running: dict[str, _Kept] = {}
        self._failed: dict[str, Tail] = {}

    def handle(self, stamped: Stamped) -> None:
        """Takes the next event."""
        event = stamped.event
        if type(event) is TaskOutput:
            kept = self._running.get(event.task)
            if kept is None or kept.attempt != event.attempt:
                kept = self._running[event.task] = _Kept(event.attempt)
            kept.add(event.stream, event.data)
        elif type(event) is TaskRetry:
            self._running.pop(event.task, None)
        elif type(event) is TaskEnd:
            kept = self._running.pop(event.task, None)
            if failed(event) and len(self._failed) < _KEPT:
                self._failed[event.task] = Tail() if kept is None else kept.tail(event.detail)

    def of_failed(self, task: str) -> Tail | None:
        """The tail of a failed task's last attempt; ``None`` if too many had failed before to keep it."""
        return self._failed.get(task)

    def last_line(self, task: str) -> str:
        """The last line that a running task wrote, finished or not, as text; empty if there is none."""
        kept = self._running.get(task)
        if kept is None or not kept.pieces:
            return ""
        peek = kept.pieces[-1][1][-_PEEK:]
        for piece in reversed(peek.replace(b"\r", b"\n").replace(b"\b", b"\n").split(b"\n")):
            line = strip_control(piece.decode(errors="replace"), colour=False).strip()
            if line:
                return line
        return ""
