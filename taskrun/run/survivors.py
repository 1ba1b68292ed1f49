"""What survives a taskrun that was killed in the same moment as its host: found, named, and killed when asked.

Nobody was left to stop it. Its environment has the run's mark, and the record says which that is.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from taskrun.host.marks import marks_of
from taskrun.host.system import current_platform
from taskrun.record import liveness

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from taskrun.host.platform import Platform, Seen
    from taskrun.record.summary import RunSummary

_PATIENCE = 5.0  # seconds of killing what starts anew all the time
_ROUND = 0.01  # seconds between two looks
_NAMED = 3  # of those in one sentence


class Survivor:
    """A process that a run has left running.

    Attributes:
        run: The run's id.
        seen: The process.
        command: Its command line, for people.
    """

    __slots__ = ("command", "run", "seen")

    def __init__(self, run: str, seen: Seen, command: str) -> None:
        self.run = run
        self.seen = seen
        self.command = command

    def __str__(self) -> str:
        return f"{self.seen.pid} {self.command}"


def survivors(summaries: Iterable[RunSummary]) -> list[Survivor]:
    """What still runs of these runs; of those with a runner or a host nothing, for they see to it themselves."""
    forsaken = [summary for summary in summaries if _is_forsaken(summary)]
    return _find(current_platform(), forsaken) if forsaken else []


def warnings(summary: RunSummary) -> tuple[str, ...]:
    """A sentence on what survives of a run; mostly none."""
    found = survivors([summary])
    if not found:
        return ()
    names = ", ".join(str(each) for each in found[:_NAMED])
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return (f"run {summary.id} was killed and left running: {names}{more}; `taskrun runs --kill` ends that",)


def kill(summaries: Iterable[RunSummary]) -> tuple[list[Survivor], list[Survivor]]:
    """Kills what survives of these runs, until nothing does, or for a bounded time; returns (killed, still alive)."""
    forsaken = [summary for summary in summaries if _is_forsaken(summary)]
    platform = current_platform()
    hit: dict[tuple[int, int], Survivor] = {}
    until = time.monotonic() + _PATIENCE
    while found := _find(platform, forsaken) if forsaken else []:
        for each in found:
            hit[each.seen.pid, each.seen.start] = each
            platform.signal(each.seen, signal.SIGKILL)
        if time.monotonic() > until:
            break
        time.sleep(_ROUND)
    alive = {(each.seen.pid, each.seen.start) for each in found}
    return [each for key, each in hit.items() if key not in alive], found


def _is_forsaken(summary: RunSummary) -> bool:
    """Whether nobody watches over the run any more, and its processes can be told from others."""
    return (
        summary.state == "aborted"
        and bool(summary.mark)
        and summary.boot == liveness.boot_id()
        and not liveness.is_process(summary.host, summary.host_start, summary.boot)
    )


def _find(platform: Platform, runs: list[RunSummary]) -> list[Survivor]:
    """All that carries the mark of one of these runs, and all below it, by age; not us, nor who is above or below."""
    marks = {summary.mark.encode(): summary.id for summary in runs}
    everyone = {seen.pid: seen for seen in platform.everyone() if not seen.dead}
    own = {os.getpid(), *_above(os.getpid(), everyone)}
    found: dict[int, Survivor] = {}
    for pid in everyone.keys() - own:
        run = _run_of(platform.environ(pid) or b"", marks)
        if run is not None and os.getpid() not in _above(pid, everyone):
            for seen in platform.tree({pid}):
                if not seen.dead and seen.pid not in own:
                    found.setdefault(seen.pid, Survivor(run, seen, platform.command(seen.pid)))
    return sorted(found.values(), key=lambda each: (each.seen.start, each.seen.pid))


def _above(pid: int, everyone: Mapping[int, Seen]) -> Iterator[int]:
    """The parent of a process, its parent, and so on."""
    passed: set[int] = set()  # the looks are not of one moment, and a pid that is used again could close a circle
    while pid in everyone and pid not in passed:
        passed.add(pid)
        pid = everyone[pid].parent
        if pid:
            yield pid


def _run_of(environ: bytes, marks: Mapping[bytes, str]) -> str | None:
    """By its mark: an attempt's is the run's and a number."""
    return next((run for mark in marks_of(environ) if (run := marks.get(mark.partition(b"-")[0])) is not None), None)
