"""A worker of a run's pool: carries out one task's call after the other, and puts back what each has changed.

What a function leaves in modules stays, which is what pools are for; folder, environment, signals and streams do not.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

from taskrun.worker import execution, failures, leaving, session, system, targets, wire
from taskrun.worker.convert import prepare
from taskrun.worker.stopping import Cancelled, interruption

if TYPE_CHECKING:
    from taskrun.worker.session import Session


def serve(channel: Session, setup: str | None) -> int:
    """Serves until nothing more comes, or a stop was asked for; returns the exit status."""
    with contextlib.ExitStack() as stack:
        ready = _set_up(setup, stack)
        if not channel.send(ready) or ready != wire.Ready():
            return 1
        status = _Turns(channel).take_all()
        if status is not None:
            _kept.append(stack.pop_all())  # a process that a function has forked: the setup is its parent's to leave
            return status
    return 0


_kept: list[object] = []


def _set_up(setup: str | None, stack: contextlib.ExitStack) -> wire.Ready:
    if setup is None:
        return wire.Ready()
    try:
        interruption.allow()
        try:
            function, _signature = prepare(setup)
            made = function()
            if isinstance(made, contextlib.AbstractContextManager):
                stack.enter_context(made)
        finally:
            interruption.forbid()
    except targets.TargetMistake as mistake:
        return wire.Ready(mistake=mistake.mistake)
    except BaseException as error:  # noqa: BLE001 - the user's, whatever it is
        interruption.forbid()
        return wire.Ready(failure=failures.describe(error))
    finally:
        leaving.flush()
    return wire.Ready()


class _Turns:
    """The calls of one worker, one after the other."""

    def __init__(self, channel: Session) -> None:
        self._channel = channel
        self._pid = os.getpid()
        self._environment = dict(os.environ)
        self._streams = _identities()

    def take_all(self) -> int | None:
        """Until nothing more comes, or the worker is spent; an exit status in a process that a function has forked."""
        while (call := self._await_call()) is not None:
            had_children = _has_children()
            began = _cpu()
            answer = self._carry_out(call)
            if os.getpid() != self._pid:
                return execution.end_of_fork(answer)
            leaving.flush()
            system.flush_c_streams()
            spent = self._why_spent(had_children=had_children)
            heard = self._channel.finish(answer)
            session.begin(None)
            self._put_back(call)
            if not self._channel.send(wire.Done(cpu=_cpu() - began, max_rss=_max_rss(), spent=spent)):
                if not heard:
                    session.complain("the task closed its channel to the runner (descriptor 3): its result is lost")
                return None
            if spent:
                return None
            interruption.renew()
        return None

    def _await_call(self) -> wire.Call | None:
        """Waits for the next; ``None``: there is none, or a stop was asked for, which no function is concerned by."""
        try:
            interruption.allow()
            try:
                call = self._channel.receive_call()
            finally:
                interruption.forbid()
        except Cancelled:
            interruption.forbid()
            return None
        return call if isinstance(call, wire.Call) else None

    def _carry_out(self, call: wire.Call) -> wire.Result | wire.Failure:
        self._channel.renew()
        _set(call.env)
        try:
            os.chdir(call.cwd)
        except OSError as error:
            text = f"its folder `{call.cwd}` cannot be entered: {error.strerror}"
            return wire.Failure(kind="exception", message=text, type_names=("OSError", "builtins.OSError"))
        session.begin(self._channel)
        return execution.carry_out(call, self._channel)

    def _put_back(self, call: wire.Call) -> None:
        _set({name: self._environment.get(name) for name in call.env})
        now = dict(os.environ)
        if now != self._environment:  # the function has set some too
            _set({name: self._environment.get(name) for name in {**now, **self._environment}})

    def _why_spent(self, *, had_children: bool) -> str:
        """Why this worker must not carry out another call; empty: it may."""
        if interruption.signal:
            return "it was asked to stop"
        if not had_children and _has_children():
            return "it left processes behind"
        if _identities() != self._streams:
            return "it changed stdout or stderr"
        return ""


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        elif os.environ.get(name) != value:
            os.environ[name] = value
    if "TZ" in variables:
        time.tzset()


def _identities() -> tuple[Any, ...]:
    """What descriptors 1 and 2 are."""
    found: list[tuple[int, int] | None] = []
    for descriptor in (1, 2):
        try:
            status = os.fstat(descriptor)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino))
    return tuple(found)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _cpu() -> float:
    """Seconds of CPU of this process and of the children that it has waited for."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def _max_rss() -> int:
    import resource

    unit = 1024 if system.LINUX else 1  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
