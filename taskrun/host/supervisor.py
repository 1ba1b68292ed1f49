"""The host itself: carries out the runner's requests, and stops everything when the runner is gone."""

from __future__ import annotations

import os

from taskrun.frames import Disconnected, MalformedFrame
from taskrun.host.beside import Beside
from taskrun.host.folders import remove_flat
from taskrun.host.freezer import Freezer
from taskrun.host.launch import SHORTAGE_DELAYS, Launcher, LaunchFailed, keep_open
from taskrun.host.leader import Leader
from taskrun.host.loop import now
from taskrun.host.marks import add_mark
from taskrun.host.reaper import Reaper
from taskrun.host.signals import signal
from taskrun.host.templates import Templates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from taskrun.host.control import Control
    from taskrun.host.loop import Loop
    from taskrun.host.platform import Platform
    from taskrun.host.reaper import Ended

OBEDIENCE = 2.0  # seconds that tasks have to stop when the runner is gone
SWEEP = 5.0  # seconds of the last sweep
_RETRIES = {"resources": SHORTAGE_DELAYS, "busy": (0.05, 0.05, 0.05)}
_LOOK = 0.05  # seconds between two looks at whether tasks have obeyed
_NUDGES = (0.1, 1.0)  # seconds after a stop, when a worker is interrupted in what it waits for: see worker/stopping.py
_SNAPSHOTS = (0.05, 2.0)  # seconds between two looks at who is below whom: at first, and at last


class Spawn:
    """A request to start a program that has not been answered yet; ``worker``: it is a Python worker."""

    __slots__ = ("argv", "cwd", "env", "fds", "id", "mark", "tries", "worker")

    def __init__(self, number: int, request: dict[str, Any], fds: list[int], *, worker: bool = False) -> None:
        self.id = number
        self.worker = worker
        self.argv: list[str] = request["argv"]
        self.env: dict[str, str] = request["env"]
        self.cwd: str = request["cwd"]
        self.mark: str = request["mark"]
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
        self._templates = Templates(
            platform, loop, self._launcher, self.put, self._worker_lives, soft_files=soft_files, forked=forked
        )
        self.reaper = self._templates.reaper = Reaper(platform, loop, self._ended, self._templates.forks_open)
        self._freezer = Freezer(platform, self._templates.pids)
        self._environ: dict[str, str] = {}  # what the environments of requests have in common
        self._spawns: dict[int, Spawn] = {}
        self._snapshot_delay = 0.0
        self._beside = Beside(platform)
        self._folders: list[str] = []  # to be removed at the end, if the runner does not
        self._closing = False
        self._finished = False
        self._requests: dict[str, Callable[..., None]] = {
            "environ": self._set_environ,
            "spawn": self._spawn,
            "template": self._template,
            "call": self._call,
            "inspect": self._templates.inspect,
            "stop": self._stop,
            "kill": self._kill,
            "dump": self._dump,
            "describe": self._describe,
            "suspend": self._suspend,
            "resume": self._resume,
            "ping": self._ping,
            "remove": self._remove,
            "keep": self._keep,
            "beside": self._beside.know,
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

    def _take_fds(self, count: int, number: int | None = None) -> list[int] | None:
        """The descriptors of the request in hand; ``None``: we may have no more, and request ``number`` has failed."""
        try:
            return self._control.take_fds(count)
        except OSError as error:
            if number is not None:
                self._fail_short(number, error)
            return None

    def _fail_short(self, number: int, error: OSError) -> None:
        self.put("failed", number, "resources", error.errno, f"taskrun's host: {error.strerror}")

    # --- starting ---

    def _set_environ(self, environ: dict[str, str]) -> None:
        """From now on requests only have what differs from this."""
        self._environ = environ

    def _whole(self, differing: dict[str, str | None]) -> dict[str, str]:
        """The environment of a request; ``None`` stands for a variable that is not there."""
        whole: dict[str, Any] = {**self._environ, **differing}
        for name, value in differing.items():
            if value is None:
                whole.pop(name)
        return whole

    def _spawn(self, number: int, request: dict[str, Any], count: int) -> None:
        fds = self._take_fds(count, number)
        if fds is not None:
            request["env"] = self._whole(request["env"])
            add_mark(request["env"], request["mark"])
            self._try(Spawn(number, request, fds))

    def _try(self, spawn: Spawn) -> None:
        stamp = self._platform.stamp()
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
        start = self._platform.start_since(pid, stamp)
        self._begin(Leader(spawn.id, pid, start, spawn.mark, worker=spawn.worker))

    def _try_later(self, spawn: Spawn, failure: LaunchFailed) -> bool:
        """Whether the start will be tried again: a shortage may pass while other attempts run, and end."""
        delays = _RETRIES.get(failure.again, ())
        if spawn.tries >= len(delays) or (failure.again == "resources" and not self.reaper.leaders):
            return False
        self._spawns[spawn.id] = spawn
        self._loop.after(delays[spawn.tries], lambda: self._try(spawn) if spawn.id in self._spawns else None)
        spawn.tries += 1
        return True

    def _begin(self, leader: Leader) -> None:
        """A leader lives: watch it."""
        self.reaper.add(leader)
        self.put("spawned", leader.id, leader.pid, leader.start)
        self._freezer.began()
        self._take_snapshots()

    def _worker_lives(self, number: int, pid: int, mark: str, wanted: bool) -> None:  # noqa: FBT001 - of a callback
        """A template has forked; ``wanted`` is false where the request was withdrawn meanwhile."""
        seen = self._platform.look(pid)
        leader = Leader(number, pid, seen.start if seen else 0, mark, worker=True)
        self._begin(leader)
        if not wanted:
            self.reaper.kill(leader)

    def _take_snapshots(self) -> None:
        """Looks soon, and then ever less often, at who is below whom; each new leader makes it often again."""
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
        delay = max(self._snapshot_delay, min(50 * (now() - began), 0.5))  # a look must not be most of our work
        self._loop.after(delay, self._snapshot)
        self._snapshot_delay = min(2 * self._snapshot_delay, _SNAPSHOTS[1])

    def _template(self, key: str, spec: dict[str, Any], count: int) -> None:
        fds = self._take_fds(count)
        self._templates.declare(key, spec, fds[0] if fds else None)

    def _call(self, number: int, key: str, request: dict[str, Any], count: int) -> None:
        fds = self._take_fds(count, number)
        if fds is None:
            return
        request["env"] = self._whole(request["env"])
        if self._platform.adopts:
            self._templates.call(number, key, request, fds)
            return
        # A worker that a template forked could not become our child.
        channel, *stdin, stdout, stderr = fds
        add_mark(request["env"], request["mark"])
        request["argv"] = self._templates.worker_argv(key)
        try:
            given = stdin or [os.open(os.devnull, os.O_RDONLY)]
        except OSError as error:
            for fd in fds:
                os.close(fd)
            self._fail_short(number, error)
            return
        self._try(Spawn(number, request, [*given, stdout, stderr, channel], worker=True))

    # --- the requests to what runs ---

    def _stop(self, number: int, how: int) -> None:
        leader = self.reaper.leaders.get(number)
        if leader is not None:
            self._freezer.forget(leader)
            self.reaper.stop(leader, how)
            for delay in _NUDGES if leader.worker else ():
                self._loop.after(delay, lambda: self._tell_worker(number, signal.SIGURG))
        else:
            self._withdraw(number)

    def _kill(self, number: int) -> None:
        leader = self.reaper.leaders.get(number)
        if leader is not None:
            self.reaper.kill(leader)
        elif not self._withdraw(number):
            # It has ended, and mostly the runner knows by now. Should it not, for whatever reason, it must not wait on.
            self.put("ended", number, None, 0.0, 0, [], [])

    def _withdraw(self, number: int) -> bool:
        """Drops a request that has not been carried out; it is answered all the same. False: there is none."""
        spawn = self._spawns.pop(number, None)
        if spawn is None:
            return self._templates.withdraw(number)
        spawn.close()
        self.put("failed", number, "withdrawn", 0, "withdrawn")
        return True

    def _dump(self, number: int) -> None:
        self._tell_worker(number, signal.SIGUSR1)

    def _tell_worker(self, number: int, how: int) -> None:
        leader = self.reaper.leaders.get(number)
        if leader is not None and leader.worker and not leader.exited:
            try:
                os.kill(leader.pid, how)
            except PermissionError:  # it has become another user's
                return

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

    def _remove(self, folder: str) -> None:
        self._folders.append(folder)

    def _keep(self) -> None:
        fds = self._take_fds(1)
        if fds is not None:
            self._templates.kept = keep_open(fds[0])

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
            self.reaper.stop(leader, signal.SIGTERM)
        self._beside.stop(signal.SIGTERM)
        until = now() + OBEDIENCE
        while (self.reaper.leaders or self._beside.alive()) and now() < until:
            self._loop.after(_LOOK, lambda: None)  # no signal tells of the end of what is no child of ours
            self._loop.step()
        self._beside.kill(SWEEP)
        if not self._platform.adopts:  # else nobody wants to know any more what belonged to whom
            self._kill_all()
        self._last_sweep()

    def fail(self, error: BaseException) -> None:
        """A mistake of our own: says which, and kills everything by the shortest way."""
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f" at {place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else ""
        self._control.put(("bug", 0, f"it failed with {type(error).__name__}: {error}{where}"))
        self._control.flush()
        self.reaper.sweep(SWEEP, set())

    def _shutdown(self) -> None:
        """The runner is done: whatever is left is killed, named, and reported."""
        templates = self._templates.pids()
        self._close()
        self._kill_all()
        killed, stuck = self.reaper.sweep(SWEEP, templates)
        self.put("finished", 0, killed, stuck)
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
        while self.reaper.sweep(SWEEP, set(), patient=True)[1]:
            pass
        for folder in self._folders:
            remove_flat(folder)
        self._finished = True
