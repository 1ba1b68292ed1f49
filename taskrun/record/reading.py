"""Reading runs back: which there are, how they went, their events and logs; also of one that is still under way.

It changes nothing, and damaged or missing parts cost no more than themselves.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import msgspec

from taskrun import events
from taskrun.model import NothingMatched
from taskrun.record import places, pruning
from taskrun.record.logfile import LogFile, load_index
from taskrun.record.summary import RunSummary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from taskrun.record.logfile import Index

_PIECE = 1024 * 1024


class RunRecord:
    """One recorded run.

    Attributes:
        path: Its folder.
        summary: What its ``run.json`` says, as it was when this was opened; its state is ``"aborted"`` where the
            process that wrote it died.
        skipped: Lines of the event file that the last ``events`` could not read.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.skipped = 0
        self.summary = _read(path)

    @property
    def is_live(self) -> bool:
        """Whether it is under way, looked up anew each time."""
        return pruning.is_live(self.path)

    def events(self) -> Iterator[events.Stamped]:
        """The events so far, in order. What was cut or damaged, or is of an unknown kind, is left out."""
        self.skipped = 0
        with contextlib.suppress(OSError), open(os.path.join(self.path, places.EVENTS), "rb") as file:
            for line in file:
                stamped = _decode(line)
                if stamped is not None:
                    yield stamped
                elif line != b"\n":
                    self.skipped += 1

    def attempts(self) -> dict[str, int]:
        """The tasks that were started, in that order, with the number of their last attempt."""
        found: dict[str, int] = {}
        for stamped in self.events():
            event = stamped.event
            if isinstance(event, events.TaskStart | events.TaskRetry) or (
                isinstance(event, events.TaskEnd) and event.attempt
            ):
                found[event.task] = max(event.attempt, found.get(event.task, 0))
        return found

    def log(self, task: str, attempt: int) -> LogFile:
        """The log of an attempt; an empty one where there is none."""
        return LogFile(self.path, places.log_name(task, attempt), self._index())

    def read_log(self, task: str, attempt: int, stream: str | None = None) -> Iterator[bytes]:
        """What an attempt wrote, in pieces.

        Args:
            task: The instance's name.
            attempt: From 1.
            stream: ``"stdout"``, ``"stderr"``, or ``None`` for both in order of arrival.
        """
        log, at = self.log(task, attempt), 0
        while True:
            data, at = log.read(at, _PIECE, stream)
            if not data and at >= log.end:
                return
            if data:
                yield data

    def follow(self, task: str, attempt: int, stream: str | None = None) -> Iterator[bytes]:
        """What an attempt has written and goes on to write.

        Yields ``b""`` whenever there is nothing new, upon which the caller waits a little; ends when the attempt has
        ended, or the run.
        """
        at, end = 0, _EndOfAttempt(self.path, task, attempt)
        while True:
            ended = not self.is_live or end.has_come()  # asked before reading: nothing is written after it
            log = self.log(task, attempt)
            log.waits_for_index = not ended
            while at < log.end:
                data, after = log.read(at, _PIECE, stream)
                if after == at:
                    break
                at = after
                if data:
                    yield data
            if ended:
                return
            yield b""

    def _index(self) -> Index:
        return load_index(os.path.join(self.path, places.INDEX))


class _EndOfAttempt:
    """Watches the events for the end of one attempt, and reads each of them once."""

    def __init__(self, folder: str, task: str, attempt: int) -> None:
        self._path = os.path.join(folder, places.EVENTS)
        self._task = task
        self._attempt = attempt
        self._at = 0

    def has_come(self) -> bool:
        """Whether it has."""
        with contextlib.suppress(OSError), open(self._path, "rb") as file:
            file.seek(self._at)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is being written
                self._at += len(line)
                event = stamped.event if (stamped := _decode(line)) is not None else None
                if isinstance(event, events.TaskEnd | events.TaskRetry) and event.task == self._task:
                    return event.attempt >= self._attempt
        return False


def _decode(line: bytes) -> events.Stamped | None:
    try:
        return events.decode(line)
    except (msgspec.DecodeError, ValueError):
        return None


def read_log(folder: str, log: str) -> Iterator[tuple[str, bytes]]:
    """A log of a run's folder, in order of arrival.

    Args:
        folder: The run's.
        log: Its path in the folder, as in the events.

    Yields:
        Pieces of at most a megabyte, each with the stream that it came from.
    """
    index = load_index(os.path.join(folder, places.INDEX))
    return LogFile(folder, os.path.basename(log), index).pieces()


def list_runs(state_dir: str, environ: Mapping[str, str], *, jobs: bool = False) -> list[RunRecord]:
    """The runs of a project, oldest first, wherever they were recorded; or those that carried jobs out."""
    found = _known(os.path.join(state_dir, places.JOBS) if jobs else state_dir, environ)
    return [RunRecord(path) for _, path in sorted(found)]


def _known(state_dir: str, environ: Mapping[str, str]) -> list[tuple[str, str]]:
    return [
        (run_id, os.path.join(root, places.RUNS, run_id))
        for root in places.state_roots(state_dir, environ)
        for run_id in pruning.run_ids(os.path.join(root, places.RUNS))
    ]


def open_run(state_dir: str, which: str, environ: Mapping[str, str]) -> RunRecord:
    """Opens one run.

    Args:
        state_dir: The project's state folder, absolute.
        which: Its id, the beginning of it, the end after the last ``-``, or ``"latest"``, which is none of a job.
        environ: For where else it may be.

    Raises:
        NothingMatched: There is no such run, or more than one.
    """
    known = _known(state_dir, environ)
    if known and which == places.LATEST:
        return RunRecord(max(known)[1])
    known += _known(os.path.join(state_dir, places.JOBS), environ)
    if not known or which == places.LATEST:
        raise NothingMatched("no run is recorded yet")
    found = [path for run_id, path in known if run_id == which]
    found = found or [path for run_id, path in known if run_id.startswith(which) or run_id.rpartition("-")[2] == which]
    if len(found) == 1:
        return RunRecord(found[0])
    if not found:
        raise NothingMatched(f"no run `{which}` is recorded; `taskrun runs` lists them")
    raise NothingMatched(f"`{which}` could be any of {len(found)} runs; `taskrun runs` lists them")


def _read(path: str) -> RunSummary:
    recorded = pruning.read_summary(path)
    summary = recorded or RunSummary(id=os.path.basename(path), state="running")
    if summary.state == "running" and not pruning.is_live(path, recorded):
        return msgspec.structs.replace(summary, state="aborted")
    return summary
