"""The writer against readers that are slow, stand still or go away: the loop never waits, nothing is lost or torn."""

from __future__ import annotations

import errno
import os
import threading
import time

import pytest

from taskrun.report.writer import Writer, _write_all

PATIENCE = 20.0


class Reader(threading.Thread):
    """Reads a pipe to its end."""

    def __init__(self, fd: int) -> None:
        super().__init__(daemon=True)
        self.fd = fd
        self.data = bytearray()
        self.start()

    def run(self) -> None:
        while data := os.read(self.fd, 1 << 16):
            self.data += data

    def result(self) -> bytes:
        self.join(PATIENCE)
        assert not self.is_alive()
        os.close(self.fd)
        return bytes(self.data)


def no_threads_left() -> bool:
    deadline = time.monotonic() + PATIENCE
    while any(thread.name == "taskrun writer" for thread in threading.enumerate()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def test_bytes_come_out_in_order():
    read, write = os.pipe()
    reader = Reader(read)
    writer = Writer()
    expected = b""
    for number in range(5000):
        piece = b"%d " % number * (number % 7)
        writer.write(write, piece, b"!")
        expected += piece + b"!"
    assert writer.close(PATIENCE)
    os.close(write)
    assert reader.result() == expected
    assert no_threads_left()


def test_the_order_between_descriptors_of_one_file_is_kept():
    read, one = os.pipe()
    two = os.dup(one)
    reader = Reader(read)
    writer = Writer()
    for number in range(2000):
        writer.write(one if number % 3 else two, b"%d\n" % number)
    assert writer.close(PATIENCE)
    os.close(one)
    os.close(two)
    assert reader.result().split() == [b"%d" % number for number in range(2000)]


def test_a_writer_that_was_never_used_has_no_thread():
    writer = Writer()
    assert writer.flush(0)
    assert writer.close(0)
    assert no_threads_left()


def test_a_reader_that_stops_makes_it_full_and_a_reader_that_goes_on_makes_room():
    read, write = os.pipe()
    space = threading.Event()
    writer = Writer(on_space=space.set, capacity=1 << 20)
    started = time.monotonic()
    for _ in range(24):
        writer.write(write, b"x" * 65536)
    assert time.monotonic() - started < PATIENCE / 2, "writing waited for the reader"
    assert writer.full
    assert writer.behind
    assert not space.is_set()
    reader = Reader(read)
    assert space.wait(PATIENCE)
    assert not writer.full
    assert writer.close(PATIENCE)
    os.close(write)
    assert len(reader.result()) == 24 * 65536


def test_room_is_told_once_per_fullness_and_through_the_loop():
    read, write = os.pipe()
    calls: list[str] = []
    writer = Writer(run_soon=lambda function: calls.append(function.__name__), capacity=1000)
    writer.on_space = lambda: None
    for _ in range(3):
        writer.write(write, b"x" * 1000)
        assert writer.flush(PATIENCE)
    assert len(calls) == 3
    writer.close(PATIENCE)
    os.close(write)
    os.close(read)


def test_leaving_gives_a_reader_that_stands_still_a_moment_and_no_more():
    read, write = os.pipe()
    writer = Writer()
    writer.write(write, b"x" * (1 << 20))
    started = time.monotonic()
    assert writer.close(0.2) is False
    assert time.monotonic() - started < PATIENCE / 2
    os.close(read)  # the thread gets EPIPE and ends
    assert no_threads_left()
    os.close(write)


def test_a_reader_that_goes_away_is_told_once_and_the_rest_dropped():
    read, write = os.pipe()
    os.close(read)
    broken: list[int] = []
    writer = Writer(on_broken=broken.append, on_error=lambda *_: pytest.fail("no error"))
    for _ in range(10):
        writer.write(write, b"x\n")
        writer.flush(PATIENCE)
    assert writer.close(PATIENCE)
    assert broken == [write]
    assert not writer.broken, "only stdout and stderr count"
    os.close(write)


def test_it_knows_that_nobody_reads_stdout_any_more():
    kept = os.dup(1)
    read, write = os.pipe()
    os.close(read)
    os.dup2(write, 1)
    try:
        writer = Writer()
        writer.write(1, b"x")
        assert writer.close(PATIENCE)
        assert writer.broken
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(write)


def test_other_descriptors_go_on_when_one_is_broken():
    gone, broken_fd = os.pipe()
    os.close(gone)
    read, write = os.pipe()
    reader = Reader(read)
    writer = Writer()
    for _ in range(3):
        writer.write(broken_fd, b"x")
        writer.write(write, b"y")
    assert writer.close(PATIENCE)
    os.close(write)
    os.close(broken_fd)
    assert reader.result() == b"yyy"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_told_once():
    fd = os.open("/dev/full", os.O_WRONLY)
    errors: list[tuple[int, int | None]] = []
    writer = Writer(on_error=lambda fd, error: errors.append((fd, error.errno)))
    for _ in range(3):
        writer.write(fd, b"x")
        writer.flush(PATIENCE)
    assert writer.close(PATIENCE)
    assert errors == [(fd, errno.ENOSPC)]
    os.close(fd)


def test_a_descriptor_that_does_not_block_is_waited_for():
    read, write = os.pipe()
    os.set_blocking(write, False)
    writer = Writer()
    writer.write(write, b"a" * 300_000)
    writer.write(write, b"b" * 300_000)
    reader = Reader(read)
    assert writer.close(PATIENCE)
    os.close(write)
    assert reader.result() == b"a" * 300_000 + b"b" * 300_000


def test_partial_writes_lose_nothing(monkeypatch):
    written = bytearray()

    def miserly(_fd, pieces):
        data = b"".join(pieces)[:3]
        written.extend(data)
        return len(data)

    monkeypatch.setattr(os, "writev", miserly)
    _write_all(1, [b"ab", memoryview(b"cdefg"), bytearray(b"h"), b"ij"])
    assert bytes(written) == b"abcdefghij"


def test_sources_are_read_only_as_fast_as_they_are_written():
    read, write = os.pipe()
    made = 0

    def source():
        nonlocal made
        for _ in range(1000):
            made += 1
            yield write, b"x" * 65536

    writer = Writer()
    writer.write_from(source())
    writer.write(write, b"end")
    deadline = time.monotonic() + 0.2
    while time.monotonic() < deadline and made < 1000:
        time.sleep(0.01)
    assert made < 10  # a pipe holds 64 KiB
    assert writer.behind
    assert not writer.full
    reader = Reader(read)
    assert writer.close(PATIENCE)
    os.close(write)
    assert len(reader.result()) == 1000 * 65536 + 3


def test_a_mistake_in_a_source_reaches_the_loop_and_the_writer_goes_on():
    read, write = os.pipe()
    reader = Reader(read)
    told: list[Exception] = []

    def run_soon(function):
        try:
            function()
        except ZeroDivisionError as error:
            told.append(error)

    def source():
        yield write, b"before "
        raise ZeroDivisionError

    writer = Writer(run_soon=run_soon)
    writer.write_from(source())
    writer.write(write, b"after")
    assert writer.close(PATIENCE)
    os.close(write)
    assert reader.result() == b"before after"
    assert len(told) == 1


def test_what_is_held_is_written_when_it_is_released():
    read, write = os.pipe()
    os.set_blocking(read, False)
    writer = Writer()
    writer.write(write, b"before")
    writer.hold()
    writer.write(write, b" after")
    assert writer.flush(PATIENCE), "what came before is written"
    assert os.read(read, 100) == b"before"
    with pytest.raises(BlockingIOError):
        os.read(read, 100)
    writer.release()
    assert writer.flush(PATIENCE)
    assert os.read(read, 100) == b" after"
    for _ in range(20):  # holding and releasing at any moment strands nothing
        writer.hold()
        writer.write(write, b".")
        writer.release()
    assert writer.flush(PATIENCE)
    assert os.read(read, 100) == b"." * 20
    writer.hold()
    writer.write(write, b"end")
    assert writer.close(PATIENCE), "closing lets go"
    assert os.read(read, 100) == b"end"
    os.close(read)
    os.close(write)


def test_it_tells_when_all_is_written_and_closes_what_it_is_asked_to():
    read, write = os.pipe()
    written = threading.Event()
    writer = Writer()
    writer.write(write, b"x" * 200_000)
    writer.when_written(written.set)
    writer.close_fd(write)
    assert not written.is_set()
    reader = Reader(read)
    assert written.wait(PATIENCE)
    assert len(reader.result()) == 200_000  # the end came: it was closed
    assert writer.close(PATIENCE)


def test_a_loop_that_has_ended_is_no_trouble():
    def run_soon(_function):
        raise RuntimeError("the loop has ended")

    read, write = os.pipe()
    os.close(read)
    writer = Writer(run_soon=run_soon, on_broken=lambda _fd: None)
    writer.write(write, b"x")
    assert writer.close(PATIENCE)
    writer.write(write, b"too late")
    os.close(write)
    assert no_threads_left()


def test_many_threads_of_work_and_sleep_never_lose_a_wake_up():
    read, write = os.pipe()
    reader = Reader(read)
    writer = Writer()
    for number in range(300):
        writer.write(write, b"x")
        if number % 3 == 0:
            assert writer.flush(PATIENCE)
        if number % 50 == 0:
            time.sleep(0.003)  # long enough for it to fall asleep
    assert writer.close(PATIENCE)
    os.close(write)
    assert reader.result() == b"x" * 300


def test_lines_that_follow_each_other_go_out_together(monkeypatch):
    """Loop and thread share one interpreter: a wake-up for every line would cost more than the line."""
    reading, writing = os.pipe()
    reader = Reader(reading)
    writes = []
    writev = os.writev

    def counting(fd, pieces):
        writes.append(fd)
        return writev(fd, pieces)

    monkeypatch.setattr(os, "writev", counting)
    writer = Writer()
    lines = [b"line %d\n" % number for number in range(1000)]
    for line in lines:
        writer.write(writing, line)
    assert writer.flush(PATIENCE)
    assert writer.close(PATIENCE)
    os.close(writing)
    assert reader.result() == b"".join(lines)
    assert len(writes) < 100


def test_what_is_urgent_does_not_wait_for_more(monkeypatch):
    """A flush, and so the end of a run, does not sit out the moment in which the thread lingers."""
    monkeypatch.setattr("taskrun.report.writer._LINGER", 3600.0)
    reading, writing = os.pipe()
    reader = Reader(reading)
    writer = Writer()
    for number in range(3):
        writer.write(writing, b"line %d\n" % number)
        assert writer.flush(PATIENCE)
    writer.write(writing, b"x" * (2 << 20))  # much is urgent, too
    deadline = time.monotonic() + PATIENCE
    while len(reader.data) < 2 << 20 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(reader.data) >= 2 << 20
    assert writer.close(PATIENCE)
    os.close(writing)
    assert len(reader.result()) == (2 << 20) + 21
    assert no_threads_left()
