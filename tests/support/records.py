"""Recorded runs, written by the real record and without a run: for tests of what reads them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Self

from taskrun import events
from taskrun.record.folder import RunFolder
from taskrun.record.summary import Asked

if TYPE_CHECKING:
    from collections.abc import Sequence

BEGAN = 1_700_000_000.0
"""Seconds since the epoch at which the first of them began: 2023-11-14 22:13:20 UTC."""


class Recorded:
    """A run that is under way until ``end`` or ``dies`` is called; to be used as a context manager."""

    def __init__(self, state: str, run_id: str, *, plan: Sequence[str] = (), asked: Asked | None = None) -> None:
        self.id = run_id
        self._seq = 0
        self._now = BEGAN
        self.folder = RunFolder.create(state, run_id, keep=20, environ={})
        start = events.RunStart(
            taskrun="0.1",
            file="tasks.toml",
            argv=("run", *plan),
            cwd="/",
            jobs=2,
            tasks=tuple(plan),
            folder=self.folder.path,
            pid=os.getpid(),
        )
        self.folder.begin(start, asked or Asked(targets=tuple(plan[-1:])), self._now)
        self.tell(start)
        self._logs = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.folder.close()

    def tell(self, event: events.AnyEvent) -> None:
        """Records an event, half a second after the last."""
        self._seq += 1
        self._now += 0.5
        self.folder.write(events.Stamped(seq=self._seq, ts=self._now, run=self.id, event=event))
        self.folder.flush()

    def begins(self, task: str, attempt: int = 1) -> None:
        """An attempt begins."""
        self.tell(events.TaskStart(task=task, attempt=attempt, argv=("x",)))
        self._logs[task, attempt] = self.folder.attempt_log(task, attempt)

    def writes(self, task: str, data: bytes, *, stream: str = "stdout", attempt: int = 1) -> None:
        """An attempt writes."""
        self._logs[task, attempt].write(stream, data)
        self.folder.flush()

    def retries(self, task: str, attempt: int = 1) -> None:
        """An attempt ends, and there will be another."""
        self._logs.pop((task, attempt)).close()
        self.tell(events.TaskRetry(task=task, attempt=attempt, why="exit 75", delay=0.0))

    def ends(self, task: str, attempt: int = 1, *, state: str = "succeeded", reason: str = "") -> None:
        """A task has settled; ``attempt`` is 0 where none was made."""
        if attempt:
            self._logs.pop((task, attempt)).close()
        self.tell(events.TaskEnd(task=task, attempt=attempt, state=state, reason=reason, elapsed=0.5))

    def end(self, exit_status: int = 0, *, signal: int | None = None, **counts: int) -> None:
        """The run has ended."""
        self.tell(events.RunEnd(exit_status=exit_status, signal=signal, elapsed=62.4, counts=counts))
        self.folder.close()

    def dies(self) -> None:
        """The process that writes it is killed: here, as if the machine had been started anew since."""
        path = os.path.join(self.folder.path, "run.json")
        self.folder.close()
        with open(path, encoding="utf-8") as file:
            summary = json.load(file)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(summary | {"boot": "an earlier one"}, file)
