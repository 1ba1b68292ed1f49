"""Saves one attempt's checkpoints in a thread, one after the other: a disk may take its time, and the run must not."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

import trio

from taskrun.model import ResourceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.record.checkpoints import Checkpoints
    from taskrun.worker import wire


class CheckpointSaver:
    """Takes checkpoints as they come and answers each once it is on disk.

    Args:
        checkpoints: Where they are kept; ``None``: nowhere, and each is answered with an error.
        key: Makes the key of the attempt's checkpoint.
        answer: Called in trio's thread with a checkpoint's number, and what went wrong or nothing.
    """

    def __init__(
        self, checkpoints: Checkpoints | None, key: Callable[[], str], answer: Callable[[int, str], None]
    ) -> None:
        self._checkpoints = checkpoints
        self._key = key
        self._answer = answer
        self._waiting: deque[wire.Checkpoint] = deque()
        self._idle: trio.Event | None = None  # set, or None, when nothing is being saved
        self.used = False  # there was something to be saved

    def save(self, checkpoint: wire.Checkpoint) -> None:
        """Has it saved, soon."""
        if self._checkpoints is None:
            self._answer(checkpoint.id, "this run keeps no record")
            return
        self.used = True
        self._waiting.append(checkpoint)
        if self._idle is None:
            self._idle = trio.Event()
            self._save_next(self._checkpoints)

    async def finish(self) -> None:
        """Waits until all of them are saved."""
        if self._idle is not None:
            await self._idle.wait()

    def _save_next(self, checkpoints: Checkpoints) -> None:
        checkpoint = self._waiting.popleft()
        key, token = self._key(), trio.lowlevel.current_trio_token()

        def write() -> str:
            try:
                checkpoints.save(key, checkpoint.value)
            except (ResourceError, ValueError) as error:
                return str(error)
            return ""

        def written(outcome: Any) -> None:
            with contextlib.suppress(trio.RunFinishedError):  # nobody waits for it any more
                token.run_sync_soon(self._written, checkpoints, checkpoint.id, outcome)

        trio.lowlevel.start_thread_soon(write, written)

    def _written(self, checkpoints: Checkpoints, number: int, outcome: Any) -> None:
        self._answer(number, outcome.unwrap())
        if self._waiting:
            self._save_next(checkpoints)
        elif self._idle is not None:
            self._idle.set()
            self._idle = None
