"""Counters in shared memory: each way does the same, exactly, from several threads too."""

from __future__ import annotations

import threading

import pytest

from taskrun.worker import atomics
from taskrun.worker.shared import SharedBuffer

TOP = (1 << 63) - 1


def by(way: str):
    if way == "locked":
        return lambda shared, offset: atomics._Locked(shared._mapping, shared.descriptor, offset)
    make = {"library": atomics.by_library, "code": atomics.by_code}[way]
    try:
        how = make()
    except OSError as error:
        pytest.skip(str(error))
    return lambda shared, offset: atomics._Native(how, shared._mapping, offset)


@pytest.mark.parametrize("way", ["library", "code", "locked"])
def test_a_counter_counts(way):
    counter = by(way)
    with SharedBuffer(24) as shared:
        one, other = counter(shared, 8), counter(shared, 16)
        assert (one.value, one.add(), one.add(5), one.add(-10), one.value) == (0, 1, 6, -4, -4)
        assert one.swap(-4, 7)
        assert not one.swap(-4, 8)
        one.store(TOP)
        assert (one.value, one.add(1), one.value, one.add(-1)) == (TOP, -TOP - 1, -TOP - 1, TOP)
        assert one.swap(TOP, -TOP - 1)
        assert other.value == 0  # its neighbours stay
        assert bytes(shared.view[:8]) == bytes(8)
        assert repr(other) == "<Counter at 0>"

        def add() -> None:
            for _ in range(2000):
                other.add()

        threads = [threading.Thread(target=add) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert other.value == 6000


def test_a_counter_has_a_place_of_its_own():
    with SharedBuffer(23) as shared:
        for offset in (-8, 4, 16, 24):
            with pytest.raises(ValueError, match=f"a multiple of 8 and at most 15, not {offset}"):
                shared.counter(offset)
        assert shared.counter(8).add(2) == 2
        kept = shared.counter(8)
    with pytest.raises(ValueError, match="this SharedBuffer is closed"):
        shared.counter()
    assert kept.add() == 3  # who has it keeps its memory
    assert repr(shared) == "<SharedBuffer of 23 bytes, closed>"


def test_two_ways_are_never_mixed(monkeypatch):
    with SharedBuffer(8) as shared:
        monkeypatch.setattr(atomics, "instructions", lambda: None)
        if shared.way == atomics.NATIVE:
            with pytest.raises(OSError, match="cannot call the processor's atomic instructions"):
                shared.counter()
        assert atomics.way() == atomics.LOCKED
