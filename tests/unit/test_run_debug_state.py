"""What SIGQUIT asks for is written beside the loop, and told once it is there."""

from __future__ import annotations

import os

import trio
import trio.testing

from taskrun.run.debug_state import NAME, DebugState


class Heard:
    """As much of the run as is asked: facts, and the executor."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def warn(self, code: str, text: str) -> None:
        assert code == "state"
        self.told.append(text)


def test_a_disk_that_hangs_holds_up_nothing_but_the_end_for_a_while(tmp_path):
    """A FIFO without a reader is such a disk."""
    path = tmp_path / NAME
    os.mkfifo(path)
    heard = Heard()

    async def main() -> None:
        state = DebugState(heard, str(tmp_path))
        state.tell([], {"succeeded": 2}, 1.0)
        state.tell([], {"succeeded": 3}, 1.1)  # the first is still being written
        async with trio.open_nursery() as nursery:
            nursery.start_soon(state.finish, 30.0)
            await trio.testing.wait_all_tasks_blocked()
            assert heard.told == []  # and the loop goes round
            text = await trio.to_thread.run_sync(path.read_text)
        assert "settled: 2 succeeded" in text
        assert "test_run_debug_state.py" in text
        assert heard.told == [f"what taskrun was doing is in {path}"]

    trio.run(main)


def test_after_the_runs_last_event_nothing_is_told(tmp_path):
    path = tmp_path / NAME
    os.mkfifo(path)
    heard = Heard()

    async def main() -> None:
        state = DebugState(heard, str(tmp_path))
        state.tell([], {}, 1.0)
        await state.finish(0.0)
        await trio.to_thread.run_sync(path.read_text)
        await trio.testing.wait_all_tasks_blocked(0.05)
        state.tell([], {}, 2.0)

    trio.run(main)
    assert heard.told == []


def test_where_it_cannot_be_written_nothing_is_told(tmp_path):
    heard = Heard()

    async def main() -> None:
        state = DebugState(heard, str(tmp_path / "gone"))
        state.tell([], {}, 1.0)
        await state.finish(30.0)

    trio.run(main)
    assert heard.told == []
