"""A worker of a run's pool: carries out one task's call after the other, and puts back what each has changed.

What a function leaves in modules stays, which is what pools are for; ``surroundings`` says what does not.
"""

from __future__ import annotations

import contextlib
import os
import resource
from typing import TYPE_CHECKING

import msgspec

from taskrun.worker import execution, failures, leaving, session, system, targets, wire
from taskrun.worker.convert import prepare
from taskrun.worker.stopping import interruption
from taskrun.worker.surroundings import Surroundings

if TYPE_CHECKING:
    from taskrun.worker.session import Session

_RSS_UNIT = 1024 if system.LINUX else 1  # macOS counts bytes


def serve(channel: Session, setup: str | None) -> int:
    """Serves until nothing more comes, or a stop was asked for; returns the exit status."""
    worker = os.getpid()
    system.adopt_orphans()  # what a task's process leaves behind when it ends is seen at the end of that task
    stack = contextlib.ExitStack()
    ready = _set_up(setup, stack)
    if os.getpid() != worker:  # a process that the setup has forked has come out of it
        _kept.append(stack)
        return execution.end_of_fork(ready.failure or wire.Result(value=b"null"))
    works = ready == wire.Ready()
    if not channel.send(msgspec.structs.replace(ready, cpu=_usage()[0])) or not works:
        _leave(stack)
        return 1
    turns = _Turns(channel)
    status = turns.take_all()
    if status is not None:
        _kept.append(stack)  # a process that a function has forked: the setup is its parent's to leave
        return status
    turns.surroundings.set_environment({})
    left = _leave(stack)
    return 0 if left and not turns.unheard else 1


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


def _leave(stack: contextlib.ExitStack) -> bool:
    """Leaves what the setup has entered; whether that went well."""
    try:
        stack.close()
    except BaseException as error:  # noqa: BLE001 - likewise
        failure = failures.describe(error)
        kind = failure.type_names[0] if failure.type_names else "it"
        session.complain(f"the setup could not be left: {kind}: {failure.message}\n{failure.traceback.rstrip()}")
        return False
    return True


class _Turns:
    """The calls of one worker, one after the other.

    Attributes:
        unheard: The last answer could not be sent.
    """

    def __init__(self, channel: Session) -> None:
        self.unheard = False
        self._channel = channel
        self._pid = os.getpid()
        self.surroundings = Surroundings()

    def take_all(self) -> int | None:
        """Until nothing more comes, or the worker is spent; an exit status in a process that a function has forked."""
        while (call := self._await_call()) is not None:
            answer = self._carry_out(call)
            if os.getpid() != self._pid:
                return execution.end_of_fork(answer)
            spent = self._tidy_up()
            cpu, max_rss = _usage()
            done = wire.Done(cpu=cpu, max_rss=max_rss, spent=spent)
            self._channel.flush()
            session.begin(None)
            if not self._channel.send(answer, done):
                session.complain("the task closed its channel to the runner (descriptor 3): its result is lost")
                self.unheard = True
                return None
            if spent:
                return None
            interruption.renew()
        return None

    def _await_call(self) -> wire.Call | None:
        """Waits for the next; ``None``: there is none, or a stop was asked for, which no function is concerned by."""
        call = interruption.while_idle(self._channel.receive_call)
        return call if isinstance(call, wire.Call) else None

    def _carry_out(self, call: wire.Call) -> wire.Result | wire.Failure:
        self._channel.renew()
        self.surroundings.set_environment(call.env)
        try:
            os.chdir(call.cwd)
        except OSError as error:
            text = f"its folder `{call.cwd}` cannot be entered: {error.strerror}"
            return wire.Failure(kind="exception", message=text, type_names=("OSError", "builtins.OSError"))
        session.begin(self._channel)
        return execution.carry_out(call, self._channel)

    def _tidy_up(self) -> str:
        """Puts back what the call has changed; why the worker must not get another, empty: it may."""
        around = self.surroundings
        around.put_back_streams()
        leaving.flush()
        system.flush_c_streams()
        spent = around.why_spent()
        if threads := around.threads_left():
            self._channel.send(leaving.warning_of(threads))
        around.put_back()
        return spent


def _usage() -> tuple[float, int]:
    """Seconds of CPU of this process and of the children that it has waited for, and its largest size in bytes."""
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime, own.ru_maxrss * _RSS_UNIT
