"""A stage for reporters: a writer that keeps what it is given, a clock that a test moves, and events by the handful."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskrun.events import Stamped, TaskOutput
from taskrun.report import Settings, make_reporters

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).parent.parent / "golden" / "report"


class Sheet:
    """Stands in for the writer: carries out everything at once, and keeps what was written in its order."""

    def __init__(self) -> None:
        self.written: list[tuple[int, bytes]] = []
        self.full = False
        self.behind = False
        self.broken = False
        self.held = False
        self.closed_fds: list[int] = []

    def write(self, fd: int, *pieces: Any) -> None:
        data = b"".join(bytes(piece) for piece in pieces)
        if data:
            self.written.append((fd, data))

    def write_from(self, source: Any) -> None:
        for fd, data in source:
            self.write(fd, data)

    def when_written(self, function: Callable[[], None]) -> None:
        function()

    def close_fd(self, fd: int) -> None:
        self.closed_fds.append(fd)

    def hold(self) -> None:
        self.held = True

    def release(self) -> None:
        self.held = False

    def bytes(self, fd: int) -> bytes:
        return b"".join(data for one, data in self.written if one == fd)

    def text(self, fd: int) -> str:
        return self.bytes(fd).decode()

    @property
    def both(self) -> bytes:
        """As on one terminal."""
        return b"".join(data for _fd, data in self.written)

    def transcript(self) -> str:
        """Each line with the stream it went to, control characters escaped: for comparing with a golden file."""
        lines: list[str] = []
        rest = {1: "", 2: ""}
        for fd, data in self.written:
            *whole, rest[fd] = (rest[fd] + data.decode(errors="backslashreplace")).split("\n")
            lines += [f"{'out' if fd == 1 else 'err'}: {line}" for line in whole]
        lines += [f"{'out' if fd == 1 else 'err'}: {text}<no newline>" for fd, text in rest.items() if text]
        text = "\n".join(line.rstrip() for line in lines) + "\n"
        return text.replace("\x1b", "\\e").replace("\r", "\\r")


class Stage:
    """Reporters made from settings, fed event by event; logs lie in a folder of the test."""

    def __init__(self, tmp_path: Path, settings: Settings | None = None, **more: Any) -> None:
        self.sheet = Sheet()
        self.now = 1000.0
        self.folder = tmp_path / "runs" / "r1"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cwd = str(tmp_path)
        self.seq = 0
        self.logs: dict[str, Path] = {}
        self.reporters = make_reporters(
            settings or Settings(),
            self.sheet,
            clock=lambda: self.now,
            cwd=self.cwd,
            **more,  # type: ignore[arg-type]
        )

    def emit(self, *events: Any) -> None:
        for event in events:
            self.seq += 1
            if type(event) is TaskOutput:
                self._log(event)
            self.reporters.handle(Stamped(seq=self.seq, ts=1_700_000_000.0, run="r1", event=event))

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.reporters.tick(self.now)

    def log(self, task: str, attempt: int = 1) -> str:
        """The log's path as ``task.end`` has it."""
        return f"{task}.{attempt}.log"

    def _log(self, event: TaskOutput) -> None:
        with open(self.folder / self.log(event.task, event.attempt), "ab") as log:
            log.write(event.data)


def check_golden(name: str, actual: str) -> None:
    """Compares with the golden file; with UPDATE_GOLDEN=1 it is written anew, to be looked at in the diff."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(actual, encoding="utf-8")
    assert actual == path.read_text(encoding="utf-8"), f"differs from {path}"
