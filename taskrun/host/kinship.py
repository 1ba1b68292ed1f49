"""Whose a process is: by its mark, by descent (also remembered), by group and by session. It signals nobody."""

from __future__ import annotations

from taskrun.host.loop import now
from taskrun.host.marks import marks_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskrun.host.leader import Leader
    from taskrun.host.platform import Platform, Seen

_REMEMBERED = 4096  # processes per attempt, the latest seen
_FORGET = 64  # strays of no attempt that are remembered beyond those that live
_SETTLED = 0.05  # seconds; an exec shows an empty environment for microseconds, so after this an empty one is meant


class Kinship:
    """Remembers what was seen below which leader, and says whose a stray is.

    Args:
        platform: Where processes are looked at.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._leaders: dict[int, Leader] = {}
        self._by_mark: dict[bytes, Leader] = {}
        self._kin: dict[int, tuple[int, Leader]] = {}
        self._foreign: dict[int, tuple[int, float]] = {}  # strays of no attempt: start time and when first seen

    def add(self, leader: Leader, *, alone: bool) -> None:
        """A new attempt; ``alone``: no template lives."""
        leader.alone = alone and not self._leaders
        for other in self._leaders.values():
            other.alone = False
        self._leaders[leader.pid] = leader
        if leader.mark:
            self._by_mark[leader.mark] = leader

    def remove(self, leader: Leader) -> None:
        """The attempt has ended; nothing is its own any more."""
        self._leaders.pop(leader.pid, None)
        self._by_mark.pop(leader.mark, None)
        for pid in leader.kin:
            if self._kin.get(pid, (0, None))[1] is leader:
                del self._kin[pid]

    def not_alone(self) -> None:
        """A template begins: what it imports may start processes too."""
        for leader in self._leaders.values():
            leader.alone = False

    def below(self, leader: Leader) -> list[Seen]:
        """The live processes below the leader, now, itself left out; they are remembered."""
        if leader.exited:
            return []
        found = [seen for seen in self._platform.tree({leader.pid}) if seen.pid != leader.pid and not seen.dead]
        for seen in found:
            self._note(seen, leader)
        return found

    def sort(self, strays: list[Seen]) -> tuple[dict[int, list[Seen]], bool]:
        """The live ones of ``strays`` (parents first) by their leader's pid; and whether one was too young to say."""
        owners: dict[int, Leader] = {}
        left: dict[int, list[Seen]] = {}
        unsure = False
        for seen in strays:
            if seen.dead or seen.pid in self._leaders:
                continue
            owner = owners.get(seen.parent) or self._owner(seen)
            if owner is None:
                unsure = unsure or self._is_young(seen)
                continue
            owners[seen.pid] = owner
            self._note(seen, owner)
            left.setdefault(owner.pid, []).append(seen)
        if len(self._foreign) > 2 * len(strays) + _FORGET:  # most of them are dead
            alive = {seen.pid for seen in strays}
            self._foreign = {pid: known for pid, known in self._foreign.items() if pid in alive}
        return left, unsure

    def _owner(self, seen: Seen) -> Leader | None:
        """The attempt of one stray, by everything but its parent."""
        start, owner = self._kin.get(seen.pid, (-1, None))
        if owner is not None and start == seen.start:
            return owner
        owner = self._leaders.get(seen.group) or self._leaders.get(seen.session) or self._leaders.get(seen.parent)
        if owner is not None:
            return owner
        for mark in reversed(marks_of(self._platform.environ(seen.pid) or b"")):
            if mark in self._by_mark:
                return self._by_mark[mark]
        for number in (seen.group, seen.session, seen.parent):
            # The number of a group or a session is not given to a new process while the group or session lives.
            start, owner = self._kin.get(number, (seen.start + 1, None))
            if owner is not None and start <= seen.start:
                return owner
        return self._only_one(seen)

    def _only_one(self, seen: Seen) -> Leader | None:
        """The attempt that was alone all the time that ``seen`` has lived."""
        if len(self._leaders) != 1 or not self._platform.adopts:
            return None
        if self._foreign.get(seen.pid, (-1, 0.0))[0] == seen.start:
            return None
        (leader,) = self._leaders.values()
        return leader if leader.alone and seen.start >= leader.start else None

    def _is_young(self, seen: Seen) -> bool:
        """Whether it shows an empty environment, which may be because it is in the middle of an exec."""
        if not self._platform.adopts:
            return False
        start, since = self._foreign.get(seen.pid, (-1, 0.0))
        if start != seen.start:
            since = now()
            self._foreign[seen.pid] = (seen.start, since)
        return now() - since < _SETTLED and self._platform.environ(seen.pid) == b""

    def _note(self, seen: Seen, leader: Leader) -> None:
        leader.kin[seen.pid] = seen.start
        if len(leader.kin) > _REMEMBERED:
            oldest = next(iter(leader.kin))
            del leader.kin[oldest]
            self._kin.pop(oldest, None)
        self._kin[seen.pid] = (seen.start, leader)
