"""The host itself: carries out the runner's requests, and stops everything when the runner is gone."""

from __future__ import annotations

import _signal
import os
from typing import TYPE_CHECKING, Any

from taskrun.frames import Disconnected, MalformedFrame
from taskrun.host.freezer import Freezer
from taskrun.host.launch import Launcher, LaunchFailed
from taskrun.host.leader import Leader
from taskrun.host.loop import now
from taskrun.host.reaper import Reaper
from taskrun.host.templates import Templates

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.host.control import Control
    from taskrun.host.loop import Loop
    from taskrun.host.platform import Platform
    from taskrun.host.reaper import Ended

OBEDIENCE = 2.0  # seconds that tasks have to stop when the runner is gone
SWEEP = 5.0  # seconds of the last sweep
_RETRIES = {"resources": (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0), "busy": (0.05, 0.05, 0.05)}
_SNAPSHOTS = (0.05, 2.0)  # seconds between two looks at who is below whom: at first, and at last


class Spawn:
    """A request to start a binary that has not been answered yet."""

    __slots__ = ("argv", "cwd", "env", "fds", "id", "mark", "tries")

    def __init__(self, number: int, argv: list[str], env: dict[str, str], cwd: str, mark: str, fds: list[int]) -> None:
        self.id = number
        self.argv = argv
        self.env = env
        self.cwd = cwd
        self.mark = mark
        self.fds = fds
        self.tries = 0

    def close(self) -> None:
        """Closes its descriptors."""
        for fd in self.fds:
            os.close(fd)
        self.fds = []


class Supervisor:
    """One run's supervisor.

    Args:
        control: The socket to the runner, which is also the life-line.
        platform: Where processes are looked at.
        loop: Calls us.
        soft_files: The soft limit of open files for tasks.
        forked: Whether we are a fork of the runner: then our own interpreter can be forked into a template.
    """

    def __init__(
        self, control: Control, platform: Platform, loop: Loop, *, soft_files: int | None, forked: bool
    ) -> None:
        self._control = control
        self._platform = platform
        self._loop = loop
        self._launcher = Launcher(soft_files)
        self._templates = Templates(self, platform, loop, soft_files=soft_files, forked=forked)
        self.reaper = Reaper(platform, loop, self._ended, self._templates.forks_open)
        self._freezer = Freezer(platform, self.reaper, self._templates.pids)
        self._spawns: dict[int, Spawn] = {}
        self._snapshot_delay = 0.0
        self._closing = False
        self._finished = False
        self._requests: dict[str, Callable[..., None]] = {
            "spawn": self._spawn,
            "template": self._templates.declare,
            "call": self._call,
            "inspect": self._templates.inspect,
            "stop": self._stop,
            "kill": self._kill,
            "dump": self._dump,
            "describe": self._describe,
            "suspend": self._suspend,
            "resume": self._resume,
            "ping": self._ping,
            "shutdown": self._shutdown,
        }

    # --- the loop ---

    def run(self) -> None:
        """Serves until the runner says so or is gone; returns when nothing is left below us."""
        self._loop.watch_children(self.reaper.look)
        self._loop.watch(self._control.fd, self._receive)
        waiting = False
        while not self._finished:
            self._loop.step()
            if self._control.pending:
                self._control.flush()
            if self._control.pending != waiting and not self._closing:
                waiting = self._control.pending
                self._loop.watch(self._control.fd, self._receive, write=waiting)

    def put(self, *message: Any) -> None:
        """Queues a message to the runner; it goes out at the end of this round."""
        self._control.put(message)

    def _receive(self) -> None:
        try:
            for message in self._control.receive():
                if self._closing:
                    return
                self._carry_out(message)
        except (Disconnected, MalformedFrame):
            self._runner_is_gone()

    def _carry_out(self, message: Any) -> None:
        try:
            kind, *arguments = message
            request = self._requests[kind]
        except (TypeError, ValueError, KeyError) as error:
            raise MalformedFrame(f"unknown request: {message!r:.100}") from error
        request(*arguments)

    def take_fds(self, count: int) -> list[int]:
        """The descriptors of the request in hand."""
        return self._control.take_fds(count)

    # --- starting ---

    def _spawn(self, number: int, argv: list[str], env: dict[str, str], cwd: str, mark: str, count: int) -> None:
        try:
            fds = self.take_fds(count)
        except OSError as error:
            self.put("failed", number, "resources", error.errno, f"taskrun's host: {error.strerror}")
            return
        add_mark(env, mark)
        self._try(Spawn(number, argv, env, cwd, mark, fds))

    def _try(self, spawn: Spawn) -> None:
        try:
            pid = self._launcher.launch(spawn.argv, spawn.env, spawn.cwd, spawn.fds)
        except LaunchFailed as failure:
            if not self._try_later(spawn, failure):
                self._spawns.pop(spawn.id, None)
                spawn.close()
                self.put("failed", spawn.id, failure.kind, failure.number, failure.message)
            return
        self._spawns.pop(spawn.id, None)
        spawn.close()
        self.begin(spawn.id, pid, spawn.mark, worker=False)

    def _try_later(self, spawn: Spawn, failure: LaunchFailed) -> bool:
        """Whether the start will be tried again: a shortage may pass while other attempts run, and end."""
        delays = _RETRIES.get(failure.again, ())
        if spawn.tries >= len(delays) or (failure.again == "resources" and not self.reaper.leaders):
            return False
        self._spawns[spawn.id] = spawn
        self._loop.after(delays[spawn.tries], lambda: self._try(spawn) if spawn.id in self._spawns else None)
        spawn.tries += 1
        return True

    def begin(self, number: int, pid: int, mark: str, *, worker: bool) -> None:
        """A leader lives: watch it, and tell the runner."""
        seen = self._platform.look(pid)
        leader = Leader(number, pid, seen.start if seen else 0, mark, worker=worker)
        self.reaper.add(leader)
        self.put("spawned", number, pid, leader.start)
        self._freezer.began(leader)
        if self._snapshot_delay == 0.0:
            self._loop.after(_SNAPSHOTS[0], self._snapshot)
        self._snapshot_delay = _SNAPSHOTS[0]

    def _snapshot(self) -> None:
        """Remembers who is below whom, for what will have lost its parent, its group and its mark later."""
        began = now()
        for leader in list(self.reaper.leaders.values()):
            self.reaper.kin.below(leader)
        if not self.reaper.leaders:
            self._snapshot_delay = 0.0
            return
        delay = max(self._snapshot_delay, 50 * (now() - began))
        self._loop.after(delay, self._snapshot)
        self._snapshot_delay = min(2 * self._snapshot_delay, _SNAPSHOTS[1])

    def _call(self, number: int, key: str, request: dict[str, Any]) -> None:
        self._templates.call(number, key, request)

    # --- the requests to what runs ---

    def _stop(self, number: int, signal: int) -> None:
        leader = self.reaper.leaders.get(number)
        if leader is not None:
            self._freezer.forget(leader)
            self.reaper.stop(leader, signal)
        else:
            self._withdraw(number)

    def _kill(self, number: int) -> None:
        leader = self.reaper.leaders.get(number)
        if leader is not None:
            self.reaper.kill(leader)
        else:
            self._withdraw(number)

    def _withdraw(self, number: int) -> None:
        """Drops a request that has not been carried out; it is answered all the same."""
        spawn = self._spawns.pop(number, None)
        if spawn is not None:
            spawn.close()
            self.put("failed", number, "withdrawn", 0, "withdrawn")
        else:
            self._templates.withdraw(number)

    def _dump(self, number: int) -> None:
        leader = self.reaper.leaders.get(number)
        if leader is not None and leader.worker and not leader.exited:
            os.kill(leader.pid, _signal.SIGUSR1)

    def _describe(self, request: int, number: int) -> None:
        leader = self.reaper.leaders.get(number)
        lines: list[str] = []
        if leader is not None:
            pids = [leader.pid] + [seen.pid for seen in self.reaper.kin.below(leader)]
            for pid in pids[:32]:
                lines += self._platform.describe(pid)
        self.put("done", request, "\n".join(lines))

    def _suspend(self, request: int) -> None:
        self._freezer.suspend()
        self.put("done", request, None)

    def _resume(self, request: int) -> None:
        self._freezer.resume()
        self.put("done", request, None)

    def _ping(self, request: int) -> None:
        self.put("done", request, None)

    def _ended(self, leader: Leader, how: Ended) -> None:
        self._freezer.forget(leader)
        self.put("ended", leader.id, *how)

    # --- the end ---

    def _runner_is_gone(self) -> None:
        """The life-line has parted: tasks get TERM and CONT, a little time, then KILL."""
        self._close()
        self._hang_up()
        self._freezer.resume()
        for leader in list(self.reaper.leaders.values()):
            self.reaper.stop(leader, _signal.SIGTERM)
        until = now() + OBEDIENCE
        self._loop.after(OBEDIENCE, lambda: None)
        while self.reaper.leaders and now() < until:
            self._loop.step()
        self._kill_all()
        self._last_sweep()

    def _shutdown(self) -> None:
        """The runner is done: whatever is left is killed, named, and reported."""
        self._close()
        self._kill_all()
        killed, stuck = self.reaper.sweep(SWEEP, self._templates.pids())
        self.put("finished", killed, stuck)
        self._control.flush()
        self._hang_up()
        self._last_sweep()

    def _close(self) -> None:
        """Takes no further request, and answers those that were not carried out."""
        self._closing = True
        self._loop.unwatch(self._control.fd)
        for number in list(self._spawns):
            self._withdraw(number)
        self._templates.close()

    def _kill_all(self) -> None:
        for leader in list(self.reaper.leaders.values()):
            self.reaper.kill(leader)
        while self.reaper.leaders:  # bounded by GIVE_UP
            self._loop.step()
            self._control.flush()

    def _hang_up(self) -> None:
        self._loop.unwatch(self._control.fd)
        self._control.close()

    def _last_sweep(self) -> None:
        """Stays behind until nothing is left: who cannot be killed now can be when its system call returns."""
        while self.reaper.sweep(SWEEP, set())[1]:
            pass
        self._finished = True


def add_mark(env: dict[str, str], mark: str) -> None:
    """Puts the attempt's mark behind those of the runs that we are below of."""
    if mark:
        outer = env.get("TASKRUN_MARK")
        env["TASKRUN_MARK"] = f"{outer}:{mark}" if outer else mark
