"""Values that travel beside their message: every array comes back as it was, and memory is made, used again, given up."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import socket
import types
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pytest
import trio
from numpy.typing import NDArray  # noqa: TC002 - read at run time

from taskrun.frames import Descriptors
from taskrun.worker import arena, memory
from taskrun.worker.arena import Arena, Borrowed, Segment
from taskrun.worker.buffers import Incoming, Outgoing
from taskrun.worker.contract import encode, operation_of
from taskrun.workers import Buffer, ContractMistake, Request, SharedBuffer
from taskrun.workers.post import Outbox, Post


@dataclass(frozen=True)
class Take(Request[Any]):
    value: np.ndarray


@dataclass(frozen=True)
class TakeBuffer(Request[Any]):
    value: Buffer


def there(request: Request[Any], *, copied: bool) -> Any:
    """The value of a request at the other end."""
    outgoing = Outgoing()
    data = encode(request, outgoing)
    segment = Segment(max(outgoing.size, 1))
    outgoing.write(segment.mapping)
    mapping = memory.map_whole(segment.descriptor, segment.size, writable=False) if outgoing.size else None
    os.close(segment.descriptor)
    return operation_of(type(request)).decode_request(data, Incoming(mapping, {}.__getitem__, copied=copied)).value


DTYPES = ["?", "i1", "<u2", ">i4", "f2", "<f8", ">c16", "S5", "<U3", "<M8[ns]", "m8[h]", "V3", "longdouble"]
STRUCTURED = np.dtype({"names": ["a", "b"], "formats": [("<f4", (2,)), [("x", "u1"), ("y", ">i8")]], "offsets": [4, 16], "itemsize": 32})  # fmt: skip


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("dtype", [*map(np.dtype, DTYPES), STRUCTURED], ids=str)
def test_an_array_comes_back_as_it_was(dtype, copied):
    for shape in [(), (0,), (3, 0, 2), (5,), (3, 4, 5), (100, 30, 25)]:
        array = np.zeros(shape, dtype)
        if dtype.kind not in "VU":
            array.flat = np.frombuffer(b"\1" * dtype.itemsize, dtype)
        for each in (array, np.asfortranarray(array), array[::-1] if shape else array, array.T):
            got = there(Take(each), copied=copied)
            assert (got.dtype, got.shape, got.flags.writeable) == (each.dtype, each.shape, copied or not each.nbytes)
            assert np.array_equal(got, each) if dtype.names else got.tobytes() == each.tobytes()
            if each.flags.f_contiguous or each.flags.c_contiguous:
                assert got.flags.f_contiguous == each.flags.f_contiguous
                assert got.flags.c_contiguous == each.flags.c_contiguous
            assert got.flags.aligned


def test_a_buffer_is_made_of_whatever_has_bytes():
    large = np.arange(30_000).reshape(100, 300)
    for data, content in [
        (b"", b""),
        (b"abc", b"abc"),
        (bytearray(b"abc"), b"abc"),
        (memoryview(b"abcdef")[::2], b"ace"),
        (large, large.tobytes()),
        (large.T, large.T.tobytes()),
        (large.astype(">f8"), large.astype(">f8").tobytes()),
        (np.zeros((0, 3)), b""),
        (Buffer(b"again").view, b"again"),
    ]:
        for copied in (False, True):
            got = there(TakeBuffer(Buffer(data)), copied=copied)
            assert bytes(got) == content
            assert (len(got), got.view.format, got.view.ndim) == (len(content), "B", 1)
    assert repr(Buffer(large)) == "<Buffer of 240,000 bytes>"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (np.array([None]), "holds Python objects"),
        (np.zeros(2, [("a", "O")]), "holds Python objects"),
        (np.array(["a"], np.dtypes.StringDType()), "holds Python objects"),
        (np.ma.masked_array([1]), "`MaskedArray` is no plain array"),
        (np.zeros((2, 2)).view(np.matrix), "`matrix` is no plain array"),
    ],
)
def test_an_array_that_would_lose_something_is_refused(value, why):
    with pytest.raises(ContractMistake, match=f"`value`: .*{why}"):
        encode(Take(value), Outgoing())


@dataclass(frozen=True)
class One(Request[None]):
    value: NDArray[np.float64]


def test_types_differ_in_the_contract_and_plain_ones_stay_as_fast():
    def digest(kind: Any, result: Any = None) -> Any:
        made = types.new_class("Q", (Request[result],), {}, lambda body: body.update(__annotations__={"value": kind}))
        return operation_of(dataclass(frozen=True)(made))

    kinds = [np.ndarray, Buffer, SharedBuffer, bytes, list[np.ndarray], np.ndarray | None]
    assert len({digest(kind).digest for kind in kinds} | {digest(bytes, np.ndarray).digest}) == 7
    assert [digest(kind).large for kind in [*kinds, Any, int]] == [True, True, True, False, True, True, True, False]
    assert digest(int, Buffer).large
    assert operation_of(One).large


def test_what_does_not_fit_is_no_value():
    outgoing = Outgoing()
    with SharedBuffer(8) as shared:
        data = encode({"value": shared}, outgoing)
    incoming = Incoming(None, {}.__getitem__, copied=True)
    with pytest.raises(msgspec.ValidationError, match="the `SharedBuffer` has been closed meanwhile"):
        operation_of(Take).decode_request(data, incoming)
    lying = msgspec.msgpack.encode({"value": msgspec.msgpack.Ext(84, msgspec.msgpack.encode(["a", -1, 8, "<f8", [9]]))})
    for data in (lying, lying.replace(b"<f8", b"zzz"), msgspec.msgpack.encode({"value": msgspec.msgpack.Ext(84, b"")})):
        with pytest.raises(msgspec.ValidationError, match="what came beside the message does not fit"):
            operation_of(Take).decode_request(data, incoming)
    with pytest.raises(ContractMistake, match="this `SharedBuffer` is closed"):
        encode({"value": shared}, Outgoing())


def test_memory_is_lent_again_and_given_up_beyond_what_is_needed():
    class Told:
        forgotten: list[int]

        def forget(self, number: int) -> None:
            self.forgotten.append(number)

    told = Told()
    told.forgotten = []
    lends = Arena()
    lends.borrowers.add(told)
    first = lends.lend(1_000_000)
    second = lends.lend(1_000_000)
    assert first is not second
    assert lends.size == 2 << 20
    lends.take_back(first)
    assert lends.lend(900_000) is first
    small = lends.lend(1)  # not the large one
    assert small.size == arena.LEAST
    lends.give_up(second)
    assert told.forgotten == [second.number]
    lends.take_back(small)
    lends.take_back(first)
    huge = lends.lend(arena.SPARE)
    lends.take_back(huge)
    for _ in range(200):  # nothing so large lately: what lay unused longest goes
        lends.take_back(lends.lend(100))
    assert lends.size <= arena.SPARE + arena.LEAST
    lends.close()
    assert lends.size == 0


@pytest.mark.parametrize(
    "size", [*range(1, 3), *(1 << n for n in range(15, 40)), *((1 << n) + 1 for n in range(15, 40))]
)
def test_a_segment_is_at_most_a_quarter_too_large(size):
    assert size <= arena._class_of(size) <= max(arena.LEAST, size * 1.25 + 1)


def test_what_cannot_be_had_is_said(monkeypatch):
    tried = []

    def make(size: int) -> int:
        tried.append(size)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    lends = Arena()
    lends.take_back(lends.lend(1))
    monkeypatch.setattr(memory, "make", make)
    with pytest.raises(MemoryError, match=r"no 1,048,576 bytes of shared memory can be had: Too many open files"):
        lends.lend(1_000_000)
    assert len(tried) == 2  # once more, without what lay unused
    assert lends.size == 0
    with pytest.raises(MemoryError, match="Too many open files"):
        SharedBuffer(10)
    with pytest.raises(ValueError, match="size must be at least 1, not 0"):
        SharedBuffer(0)


@pytest.mark.parametrize("make", [memory.make_sealed, memory.make_unlinked])
def test_memory_is_of_its_size_zero_and_seen_by_both(make, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    descriptor = make(100_000)
    assert os.listdir(tmp_path) == []
    ours = memory.map_whole(descriptor, 100_000, writable=True)
    theirs = memory.map_whole(descriptor, 100_000, writable=False)
    if make is memory.make_sealed:
        with pytest.raises(OSError, match="not permitted"):
            os.ftruncate(descriptor, 1)
    os.close(descriptor)
    assert theirs[:] == bytes(100_000)
    ours[99_999] = 7
    assert theirs[99_999] == 7


def test_every_way_of_looking_at_memory_is_seen():
    descriptor = memory.make(100_000)
    mapping = memory.map_whole(descriptor, 100_000, writable=False)
    os.close(descriptor)
    assert not memory.is_seen(mapping)
    for look in [
        memoryview,
        lambda it: memoryview(it)[5:][::2],
        lambda it: np.frombuffer(it, np.uint8)[3:].reshape(-1, 1).T,
        lambda it: Buffer(it).view[:1],
        lambda it: iter(memoryview(it)),
    ]:
        view = look(mapping)
        assert memory.is_seen(mapping)
        del view
        assert not memory.is_seen(mapping)


def test_descriptors_arrive_with_their_frames_however_little_goes_at_once():
    count = 40
    pipes = [os.pipe() for _ in range(count)]

    async def main() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least that there is
        theirs.setblocking(False)
        with ours, theirs:
            async with trio.open_nursery() as nursery:
                post = Post()
                nursery.start_soon(post.deliver)
                outbox = Outbox(ours, post, nursery)
                for number, (reading, writing) in enumerate(pipes):
                    outbox.send(b"." * (number * 397 % 5000), at_once=number % 3 == 0)
                    outbox.send_descriptor(b"(" + bytes(3000) + b")", reading)
                    os.close(reading)  # it is copied
                    os.write(writing, bytes([number]))
                descriptors = Descriptors()
                came, taken = bytearray(), 0
                with trio.fail_after(20):
                    while taken < count:
                        await trio.lowlevel.wait_readable(theirs)
                        came += descriptors.receive(theirs, 1000)
                        while taken < count and came.count(b")") > taken:
                            (descriptor,) = descriptors.take(1)
                            assert os.read(descriptor, 10) == bytes([taken])
                            os.close(descriptor)
                            taken += 1
                assert len(came) >= count * 3002
                nursery.cancel_scope.cancel()

    trio.run(main)
    for _reading, writing in pipes:
        os.close(writing)


def test_what_was_borrowed_is_forgotten_whole():
    before = len(os.listdir("/proc/self/fd"))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        segment = Segment(arena.LEAST)
        socket.send_fds(ours, [b"x"], [segment.descriptor])
        borrowed = Borrowed()
        assert borrowed.receive(theirs, 10) == b"x"
        borrowed.learn(7, segment.size, "")
        assert borrowed.mapping(0) is None
        segment.mapping[3] = 9
        view = memoryview(borrowed.mapping(7))
        assert borrowed.keeps(7)
        segment.close()
        assert view[3] == 9
        with pytest.raises(KeyError):
            borrowed.mapping(7)
        view.release()
        del view
        borrowed.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("double", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_shared_buffer_has_no_doubles(double):
    with SharedBuffer(8) as shared, pytest.raises(TypeError, match="cannot be copied or pickled"):
        double(shared)
