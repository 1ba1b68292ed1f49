"""Checkpoints are saved beside the loop, in order, and each is answered."""

from __future__ import annotations

import threading

import trio
import trio.testing

from taskrun.execute.checkpoint_saver import CheckpointSaver
from taskrun.model import ResourceError
from taskrun.worker import wire


class SlowDisk:
    """Saves nothing until it is let; then refuses what is empty."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.saved: list[bytes] = []

    def save(self, key: str, data: bytes) -> None:
        assert key == "k"
        assert self.go.wait(30)
        if not data:
            raise ResourceError("no space")
        self.saved.append(data)


def test_a_slow_disk_holds_up_nothing_and_every_checkpoint_is_answered_in_order() -> None:
    disk, answers = SlowDisk(), []
    everything = trio.Event()

    def answer(number: int, error: str) -> None:
        answers.append((number, error))
        if len(answers) == 3:
            everything.set()

    async def main() -> None:
        saver = CheckpointSaver(disk, lambda: "k", answer)
        for number, value in enumerate((b"1", b"", b"3")):
            saver.save(wire.Checkpoint(id=number, value=value))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(saver.finish)
            await trio.testing.wait_all_tasks_blocked()
            assert answers == []  # and the loop goes round
            disk.go.set()
        await everything.wait()
        await saver.finish()

    trio.run(main)
    assert answers == [(0, ""), (1, "no space"), (2, "")]
    assert disk.saved == [b"1", b"3"]


def test_without_a_record_it_says_so() -> None:
    answers = []
    CheckpointSaver(None, lambda: "k", lambda *answer: answers.append(answer)).save(wire.Checkpoint(id=7, value=b"1"))
    assert answers == [(7, "this run keeps no record")]
