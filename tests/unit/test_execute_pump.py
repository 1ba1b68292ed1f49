"""The pump: what is read to the end of a task's processes, and what is not waited for."""

from __future__ import annotations

import fcntl
import os
import subprocess

import pytest
import trio

from taskrun.execute.pump import CHUNK, Pump

PATIENCE = 20.0


def drained(pump, stream, quiet=0.05):
    async def main():
        with trio.fail_after(PATIENCE):
            return await pump.drain([stream], quiet)

    return trio.run(main)


@pytest.fixture
def pipe():
    """A pump, the pieces that it has read, its stream, and the writing end."""
    pump, pieces = Pump(), []
    reading, writing = os.pipe()
    stream = pump.add(reading, pieces.append)
    yield pump, pieces, stream, writing
    stream.close()
    pump.close()
    os.close(writing)


def test_a_stranger_that_writes_for_ever_holds_nobody_up(pipe):
    pump, pieces, stream, writing = pipe
    with subprocess.Popen(["yes"], stdout=writing) as yes:
        try:
            assert drained(pump, stream) is False
        finally:
            yes.kill()
    assert len(pieces) <= stream.reads_of_all()


@pytest.mark.parametrize("room", [CHUNK, 8 * CHUNK])
def test_all_that_lies_in_the_pipe_is_read(pipe, room):
    pump, pieces, stream, writing = pipe
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, room)
    os.set_blocking(writing, False)
    sent = 0
    while True:
        try:
            sent += os.write(writing, b"x" * 4096)
        except BlockingIOError:
            break
    assert drained(pump, stream) is False  # the other end is still open
    assert sum(map(len, pieces)) == sent >= room
