"""Whose a process is, without processes."""

from __future__ import annotations

from taskrun.host.kinship import Kinship
from taskrun.host.leader import Leader
from taskrun.host.platform import Platform, Seen


class Nobody(Platform):
    """Processes that have no mark."""

    adopts = True

    def environ(self, pid):
        return b"HOME=/\0"


def stray(pid):
    return Seen(pid, "S", parent=1, group=pid, session=pid, start=pid)


def test_strays_that_are_dead_are_forgotten():
    """A run of a million attempts has seen millions of them."""
    kinship = Kinship(Nobody())
    one, two = (Leader(number, number, number, f"mark-{number}", worker=False) for number in (11, 12))
    kinship.add(one, alone=True)
    kinship.add(two, alone=True)
    lives_on = stray(50)
    for pid in range(1000, 6000):
        assert kinship.sort([lives_on, stray(pid)]) == ({}, False)
    assert len(kinship._foreign) < 200
    assert lives_on.pid in kinship._foreign
