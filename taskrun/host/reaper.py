"""How attempts end: leaders' exits, what outlives them, kills, reaping, and the last sweep. It starts nothing."""

from __future__ import annotations

import os

from taskrun.host.kinship import Kinship
from taskrun.host.loop import Alarm, now
from taskrun.host.marks import marks_of
from taskrun.host.signals import signal
from taskrun.host.sweep import Sweep, kill_child, name_all, reap, signal_group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.host.leader import Leader
    from taskrun.host.loop import Loop
    from taskrun.host.platform import LeftOver, Platform, Seen

LEAK_WINDOW = 0.2  # seconds between a leader's exit and the killing of what holds on
DOUBT = 0.2  # seconds in which it must have shown whose a process is that has just come to us
GIVE_UP = 5.0  # seconds of killing, after which a process counts as unkillable
_HAS_WAITID = hasattr(os, "waitid")  # macOS before Python 3.13 has none
_BURST = 0.02  # seconds that one round of killing may keep the host from its other duties
_SETTLED = 0.003  # seconds without anything new after which such a round is over

Ended = tuple[int | None, float, int, "list[LeftOver]", "list[LeftOver]"]
"""Wait status (None: it could not be killed), CPU seconds, peak bytes, leaked, unkillable."""


class Reaper:
    """Watches leaders to their end and beyond.

    Args:
        platform: Where processes are looked at and signalled.
        loop: For timers.
        ended: Called once for each leader.
        forks_open: Whether some child may be a worker that a template has not named yet: strangers are then not
            reaped, since their status may be wanted.
    """

    def __init__(
        self,
        platform: Platform,
        loop: Loop,
        ended: Callable[[Leader, Ended], None],
        forks_open: Callable[[], bool],
    ) -> None:
        self.leaders: dict[int, Leader] = {}
        self.kin = Kinship(platform)
        self._platform = platform
        self._ended = ended
        self._forks_open = forks_open
        self._by_pid: dict[int, Leader] = {}
        self._others: dict[int, Callable[[], None]] = {}
        self._own: set[int] = set()
        self._hopeless: dict[int, int] = {}  # what no kill has helped against: pid to start time
        self._next_look = Alarm(loop, self._look_again)  # at what has outlived leaders
        self._next_kill = Alarm(loop, self._kill_round)

    # --- who is ours ---

    def add(self, leader: Leader) -> None:
        """From now on the leader's end is ours to bring about and to report."""
        self.kin.add(leader, alone=not self._others)
        self.leaders[leader.id] = leader
        self._by_pid[leader.pid] = leader
        self._own.add(leader.pid)

    def add_other(self, pid: int, exited: Callable[[], None]) -> None:
        """A child that is no leader: ``exited`` is called when it has ended, and reaps it."""
        self._others[pid] = exited
        self._own.add(pid)
        self.kin.not_alone()

    def remove_other(self, pid: int) -> None:
        """Forgets a child that is no leader; it is a stranger from now on."""
        self._others.pop(pid, None)
        self._own.discard(pid)

    def strays(self) -> list[Seen]:
        """Processes below us that no leader and no other known child is an ancestor of."""
        return self._platform.strays(self._own)

    # --- exits ---

    def look(self) -> None:
        """Finds the children that have ended. For SIGCHLD, which tells neither who nor how many."""
        if self._look_quickly():
            return
        new: list[Leader] = []
        for pid in list(self._own):
            leader = self._by_pid.get(pid)
            if leader is None or leader.killing:
                if self._platform.exited(pid):
                    self._exited(pid)
            elif not leader.exited and self._platform.exited(pid):
                leader.exited = True
                new.append(leader)
        self._settle(self._waiting() if self._reap_strangers() else new)

    def _look_quickly(self) -> bool:
        """The way without a kept zombie; False: there is one, and it hides the others from P_ALL."""
        if not _HAS_WAITID:
            return False
        try:
            while True:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if info is None:
                    return True
                if not self._exited(info.si_pid):
                    return False
        except ChildProcessError:
            return True

    def _exited(self, pid: int) -> bool:
        """One child that has ended; False: its zombie is kept."""
        leader = self._by_pid.get(pid)
        if leader is not None:
            if not leader.exited:
                leader.exited = True
                if not leader.killing:
                    self._settle([leader])
                else:
                    self._next_kill.within(0.0)
            return leader.id not in self.leaders
        other = self._others.get(pid)
        if other is not None:
            other()
            return pid not in self._own
        if self._forks_open():
            return False
        return reap(pid)

    def _reap_strangers(self) -> bool:
        """Reaps ended children that nobody waits for, each by its pid; whether there was one."""
        if self._forks_open():
            return False
        reaped = [pid for pid in self._platform.children() - self._own if reap(pid)]
        return bool(reaped)

    # --- what outlives a leader ---

    def _waiting(self) -> list[Leader]:
        """The dead leaders that something has outlived."""
        return [leader for leader in self.leaders.values() if leader.exited and not leader.killing]

    def _left(self, leaders: list[Leader]) -> tuple[dict[int, list[Seen]], bool]:
        """What is alive of attempts beside their leaders, by the leaders' pids; and whether that may not be all.

        An empty list of strays is the whole truth, since all that lives below us has some child of ours as its
        ancestor. Where one was found dead, it may have left a child after the list was made: look again.
        """
        until = now() + _BURST
        dead: set[int] = set()
        while strays := self.strays():
            left, unsure = self.kin.sort(strays)
            died = {seen.pid for seen in strays if seen.dead} - dead
            if unsure or not died or any(leader.pid in left for leader in leaders):
                return left, unsure or bool(died)
            if now() >= until:
                return left, True
            dead |= died
        return {}, False

    def _doubted(self, leader: Leader, left: list[Seen]) -> bool:
        """Nothing is left for certain, but for so long already that there was always something which nobody knows.

        What forks and exits all the time and has cleared its environment is a new stranger at each look: no attempt
        can wait for it. The end of the run sweeps it.
        """
        if left or not leader.exited:
            leader.doubt_at = None
        elif leader.doubt_at is None:
            leader.doubt_at = now() + DOUBT
        return leader.doubt_at is not None and now() >= leader.doubt_at

    def _settle(self, leaders: list[Leader]) -> None:
        """The leaders are dead: an attempt has ended if nothing else of it lives; else that has some time left.

        One look serves them all. It takes as long as there are strays, and so the next one is the later the more.
        """
        if not leaders:
            return
        began = now()
        left, unsure = self._left(leaders)
        delays = [self._settle_one(leader, left.get(leader.pid, []), unsure=unsure) for leader in leaders]
        delay = min((each for each in delays if each is not None), default=None)
        if delay is not None:
            self._next_look.within(max(delay, now() - began))

    def _settle_one(self, leader: Leader, left: list[Seen], *, unsure: bool) -> float | None:
        """Buries or kills it, or returns in how many seconds to look again."""
        if not left and not unsure:
            self._bury(leader)
            return None
        if self._doubted(leader, left):
            self.kill(leader)  # which finds more than a look does
            return None
        if not left:
            return 0.002
        if leader.asked:
            return 0.05
        if leader.leak_at is None:
            leader.leak_at = now() + LEAK_WINDOW
        elif now() >= leader.leak_at:
            leader.leaked = name_all(self._platform, left)
            self.kill(leader)
            return None
        return max(0.002, min(0.02, leader.leak_at - now()))

    def _look_again(self) -> None:
        self._reap_strangers()
        self._settle(self._waiting())

    # --- signals ---

    def stop(self, leader: Leader, number: int) -> None:
        """Signals all of the attempt, and continues what is stopped, since that would not notice.

        But for the tasks of a taskrun in it: that one is told, and stops them itself. Told by us as well they would end
        before it knows why, and be its failures.
        """
        leader.asked = True
        others = [seen for seen in self._outside(leader) if not self._is_of_a_run_within(seen, leader)]
        signal_group(leader.pid, number)
        for seen in others:
            self._platform.signal(seen, number)
        signal_group(leader.pid, signal.SIGCONT)
        for seen in others:
            self._platform.signal(seen, signal.SIGCONT)

    def _outside(self, leader: Leader) -> list[Seen]:
        """What belongs to the attempt but is not in its leader's group."""
        left, _unsure = self._left([leader])
        strays = left.get(leader.pid, [])
        return [seen for seen in self.kin.below(leader) + strays if seen.group != leader.pid]

    def _is_of_a_run_within(self, seen: Seen, leader: Leader) -> bool:
        marks = marks_of(self._platform.environ(seen.pid) or b"")
        return leader.mark in marks and marks[-1] != leader.mark

    def kill(self, leader: Leader) -> None:
        """Kills all of the attempt, until nothing of it is alive or ``GIVE_UP`` is over."""
        if leader.killing:
            return
        leader.killing = True
        leader.give_up = now() + GIVE_UP
        self._freeze(leader)
        signal_group(leader.pid, signal.SIGKILL)
        self._next_kill.within(0.0)

    def _kill_round(self) -> None:
        """Kills all there is of all that is to die; comes back until there is nothing, or it is hopeless."""
        began = now()
        leaders = [leader for leader in self.leaders.values() if leader.killing]
        for leader in leaders:
            self._freeze(leader)
            signal_group(leader.pid, signal.SIGKILL)
        self._snipe(leaders)
        left, unsure = self._left(leaders)
        for leader in leaders:
            self._kill_one(leader, left.get(leader.pid, []), unsure=unsure)
        if any(leader.killing for leader in self.leaders.values()):
            self._next_kill.within(max(0.002, now() - began))  # a round must not be all of our work

    def _kill_one(self, leader: Leader, left: list[Seen], *, unsure: bool) -> None:
        unsure = unsure and not self._doubted(leader, left)
        left = left + self.kin.below(leader)  # a leader that does not die has not lost its children to us
        for seen in left:
            self._platform.signal(seen, signal.SIGKILL)
        leader.exited = leader.exited or self._platform.exited(leader.pid) is True
        self._reap_strangers()
        if leader.exited and not left and not unsure:
            self._bury(leader)
        elif now() >= leader.give_up:
            self._give_up(leader, left)

    def _snipe(self, leaders: list[Leader]) -> None:
        """Kills adopted children of the attempts the moment they come, for a short while.

        Processes that fork and exit all the time live for less than a careful look at all of them would take. By its
        mark, or where nobody else can be its owner, one is known in microseconds; and a child's pid is pinned.
        """
        if not self._platform.adopts or not leaders:
            return
        alone = any(leader.alone for leader in leaders)  # then it is the only one
        marks = {leader.mark for leader in leaders}
        until = now() + _BURST
        news = now()
        hit: set[int] = set()
        strangers: set[int] = set()
        while now() < until and now() - news < _SETTLED:  # one that does not die is not waited for here
            for pid in self._platform.children() - self._own - hit - strangers:
                if alone or not marks.isdisjoint(marks_of(self._platform.environ(pid) or b"")):
                    kill_child(pid)
                    hit.add(pid)
                    news = now()
                else:
                    strangers.add(pid)
            gone = {pid for pid in hit if self._platform.exited(pid) is not False}
            if gone == hit and not self._platform.children() - self._own - hit - strangers:
                return  # nobody is left who could have a child that we have not seen
            if not self._forks_open():
                for pid in gone:
                    reap(pid)
                hit -= gone

    def _freeze(self, leader: Leader) -> None:
        """Stops what the leader has outside its group, so that nothing is born there while its parents die.

        The group needs none of it: the kernel signals a group as one.
        """
        frozen: set[tuple[int, int]] = set()
        until = now() + _BURST
        while now() < until:
            fresh = [seen for seen in self.kin.below(leader) if (seen.pid, seen.start) not in frozen]
            if not any(seen.group != leader.pid for seen in fresh):
                return
            for seen in fresh:
                frozen.add((seen.pid, seen.start))
                self._platform.signal(seen, signal.SIGSTOP)

    # --- the end of an attempt ---

    def _give_up(self, leader: Leader, left: list[Seen]) -> None:
        """Some of it cannot be killed: it is named, and lives on below us, until it dies at last."""
        itself = None if leader.exited else self._platform.look(leader.pid)
        stuck = {seen.pid: seen for seen in ([itself] if itself else []) + left}
        self._hopeless.update((pid, seen.start) for pid, seen in stuck.items())
        leader.leaked = [one for one in leader.leaked if one[0] not in stuck]
        self._bury(leader, name_all(self._platform, list(stuck.values()), stuck=True))

    def _bury(self, leader: Leader, unkillable: list[LeftOver] | None = None) -> None:
        """Reaps the leader and reports; after this its pid may be anybody's."""
        status: int | None = None
        cpu, peak = 0.0, 0
        self._own.discard(leader.pid)
        if leader.exited:
            _pid, status, usage = os.wait4(leader.pid, 0)
            cpu, peak = usage.ru_utime + usage.ru_stime, self._platform.peak(usage.ru_maxrss)
        else:
            self.add_other(leader.pid, lambda: self._reap_late(leader.pid))
        del self.leaders[leader.id], self._by_pid[leader.pid]
        self.kin.remove(leader)
        self._ended(leader, (status, cpu, peak, leader.leaked, unkillable or []))

    def _reap_late(self, pid: int) -> None:
        reap(pid)
        self.remove_other(pid)

    # --- the end of the run ---

    def sweep(self, seconds: float, skip: set[int], *, patient: bool = False) -> tuple[list[LeftOver], list[LeftOver]]:
        """Kills and reaps everything below us, until there is nothing or the time is over.

        Args:
            seconds: How long to try.
            skip: Children that are ours by nature (templates): killed, but not named.
            patient: Waits also for what no kill has helped against before.

        Returns:
            What was killed, and what could not be.
        """
        for leader in self.leaders.values():
            signal_group(leader.pid, signal.SIGKILL)
        sweep = Sweep(self._platform, skip, {} if patient else self._hopeless)
        sweep.run(seconds)
        return sweep.killed, sweep.stuck
