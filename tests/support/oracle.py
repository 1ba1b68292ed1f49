"""What must hold after every fault test, whatever was done to taskrun: eight checks, O1 to O8.

O1  nothing that was started lives on: not by parentage (the test process is a subreaper: orphans fall to it), nor by
    the mark in its environment
O2  nobody's dead were left to others: what falls to the test process as a zombie is taskrun's own at most
O3  the terminal's settings are as before, its cursor is visible and, where taskrun had it alone, at a line's start
O4  the true wait status: each test says it itself, with ``dies_of``, ``exits`` or a launch context's ``ended_by``
O5  records are valid, indexes of logs cover what the logs hold, and logs hold what ``expect_log`` was told
O6  the whole test took no longer than ``bound``
O7  no traceback of taskrun's own, nor of a library, was shown
O8  the standard streams are in blocking mode

A test that does what forbids one of them says so: ``oracle.excuse("O3", "nobody was left to show the cursor")``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import sys
import time
from typing import TYPE_CHECKING

from support.census import name_of, state_of
from support.commands import POLL, Running, Terminal
from support.project import command_line
from support.runs import children

import taskrun
from taskrun.record.reading import RunRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.project import ProjectDir

BOUND = 100.0
"""Seconds for a test, unless it says otherwise: what hangs is found, what is slow is not."""

# Names of processes of taskrun's own, whose parent may have been killed; trio asks ldconfig when it is imported.
_OURS = ("taskrun", "python", "ldconfig")
_PACKAGE = os.path.dirname(os.path.abspath(taskrun.__file__)) + os.sep
_SET_CHILD_SUBREAPER = 36  # of prctl


class Oracle:
    """The checks after one test.

    Attributes:
        bound: Seconds that the test may take in all.
        patience: Seconds in which what a run has left must be gone.
    """

    def __init__(self, project: ProjectDir) -> None:
        self.bound = BOUND
        self.patience = 10.0
        self._project = project
        self._excused: dict[str, str] = {}
        self._adopts = _OURS
        self._logs: dict[tuple[str, int], bytes] = {}
        self._before = set(children(os.getpid()))
        self._began = time.monotonic()

    def excuse(self, check: str, why: str) -> None:
        """One of the checks, such as ``"O3"``, cannot hold after this test."""
        assert re.fullmatch("O[1-8]", check)
        assert why
        self._excused[check] = why

    def adopts(self, *names: str) -> None:
        """Dead processes whose names begin so may fall to the test process: their parents were killed on purpose."""
        self._adopts += names

    def expect_log(self, task: str, data: bytes, *, attempt: int = 1) -> None:
        """The last run's log of an attempt will hold exactly this."""
        self._logs[task, attempt] = data

    def complaints(self) -> list[str]:
        """What does not hold; whatever still lives is killed."""
        found = [
            *self._alive(),
            *self._left_to_others(),
            *self._terminals(),
            *self._records(),
            *self._tracebacks(),
            *self._modes(),
        ]
        if (took := time.monotonic() - self._began) > self.bound:
            found.append(f"O6: the test took {took:.0f} s")
        return [each for each in found if each[:2] not in self._excused]

    # --- O1, O2

    def _alive(self) -> Iterator[str]:
        for each in self._project.started:
            if each.process.poll() is None:
                yield f"O1: a command still runs: {each.argv}"
                each.close() if isinstance(each, Terminal) else each.kill()
        until = time.monotonic() + self.patience
        while self._living() and time.monotonic() < until:
            time.sleep(POLL)
        killed: set[int] = set()
        while living := self._living():  # what is killed may leave children of its own
            for pid in living - killed:
                yield f"O1: {pid} {command_line(pid)} lives on"
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            killed |= living
            time.sleep(POLL)
        for left in self._project.left_behind():
            yield f"O1: {left} lives on"

    def _left_to_others(self) -> Iterator[str]:
        for pid in self._adopted():
            name = name_of(pid)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if not name.startswith(self._adopts):
                yield f"O2: {pid} {name} was left dead, for others to reap"

    def _living(self) -> set[int]:
        return {pid for pid in self._adopted() if state_of(pid) not in {"", "Z"}}

    def _adopted(self) -> set[int]:
        known = {each.process.pid for each in self._project.started}
        return set(children(os.getpid())) - self._before - known

    # --- O3, O8

    def _terminals(self) -> Iterator[str]:
        for each in self._project.started:
            if isinstance(each, Terminal) and each.modes_after is not None:
                if each.modes_after != each.modes_before:
                    yield f"O3: the terminal was left with {each.modes_after}, not {each.modes_before}"
                try:
                    each.expect_cursor()
                except AssertionError as wrong:
                    yield f"O3: {wrong}"
                alone = each.argv[: len(self._project.command)] == self._project.command
                shown = each.text
                while shown.endswith("^C"):  # a key that came after the end: the terminal itself shows it
                    shown = shown.removesuffix("^C")
                if alone and shown and not shown.endswith("\n"):
                    yield f"O3: the cursor was left in the middle of a line: {each.text[-80:]!r}"

    def _modes(self) -> Iterator[str]:
        for each in self._project.started:
            if isinstance(each, Running) and not each.left_blocking:
                yield f"O8: a standard stream was left in non-blocking mode by {each.argv}"

    # --- O5

    def _records(self) -> Iterator[str]:
        for folder in self._project.path.glob("**/.taskrun/runs/2*"):
            yield from (f"O5: {folder.name}: {wrong}" for wrong in _wrong_in_record(folder))
        for (task, attempt), wanted in self._logs.items():
            record = RunRecord(str(self._project.path / ".taskrun" / "runs" / "latest"))
            if (got := b"".join(record.read_log(task, attempt))) != wanted:
                yield f"O5: the log of {task} holds {_shortened(got)}, not {_shortened(wanted)}"

    # --- O7

    def _tracebacks(self) -> Iterator[str]:
        for each in self._project.started:
            text = each.text if isinstance(each, Terminal) else each.stderr
            for wrong in _foreign_tracebacks(text):
                yield f"O7: {each.argv} showed\n{wrong}"


@contextlib.contextmanager
def subreaper() -> Iterator[None]:
    """Meanwhile whatever loses its parent below this process becomes its child. Does nothing but on Linux."""
    set_it = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else lambda *_: 0
    set_it(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        set_it(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _wrong_in_record(folder: Path) -> Iterator[str]:
    try:
        summary = json.loads(_text(folder / "run.json") or '{"state": "never begun"}')
        lines = _text(folder / "events.jsonl").splitlines(keepends=True)
        events = [json.loads(line) for line in lines if line.endswith("\n")]
    except ValueError as error:
        yield f"it cannot be read: {error}"
        return
    if [event["seq"] for event in events] != list(range(1, len(events) + 1)):
        yield "events are missing"
    if summary["state"] == "finished":
        if not events or events[-1]["event"] != "run.end":
            yield "it is finished without a run.end"
        record = RunRecord(str(folder))
        for task, attempt in record.attempts().items():
            log = record.log(task, attempt)
            if log.index.covered != log.end and not log.index.truncated and log.index.elided is None:
                yield f"the log of {task} has {log.end} bytes, its index {log.index.covered}"


def _foreign_tracebacks(text: str) -> Iterator[str]:
    """Tracebacks with a frame of taskrun, a library or the interpreter in them; those of a user's own code may be."""
    if "Exception ignored" in text:
        yield text[text.index("Exception ignored") :][:500]
    for block in text.split("Traceback (most recent call last)")[1:]:
        if _PACKAGE in block or "site-packages" in block or "<frozen" in block or 'File "' not in block:
            yield f"Traceback (most recent call last){block[:2000]}"


def _text(path: Path) -> str:
    """Empty where there is no file: a runner may be killed before it has made it."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    return ""


def _shortened(data: bytes) -> str:
    return repr(data) if len(data) < 200 else f"{data[:80]!r} ... {data[-80:]!r} ({len(data)} bytes)"
