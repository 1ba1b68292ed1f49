"""A worker's life, from the fork to ``_exit``: becomes a process of its own, carries out one call, and leaves."""

from __future__ import annotations

import gc
import os
import sys
from typing import Any, NoReturn

import msgspec

from taskrun.worker import failures, leaving, session, system, wire
from taskrun.worker.execution import carry_out, end_of_fork, status_of
from taskrun.worker.leaving import leave
from taskrun.worker.session import Session, complain
from taskrun.worker.stopping import interruption

BROKEN = 70
"""Exit status of a worker that failed by our own fault (EX_SOFTWARE)."""


class Birth(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is made of: what the host asked for, and what the template knows.

    Attributes:
        env: The whole environment, but the mark.
        descriptors: Channel, stdin or ``None``, stdout, stderr.
        host: Pid of the process that the worker must not outlive.
        middle: Pid of the process between template and worker.
    """

    env: dict[str, str]
    mark: str
    descriptors: tuple[int, int | None, int, int]
    environment: Any
    host: int
    middle: int


def live(birth: Birth) -> NoReturn:
    """The whole life of this process, which has just been forked. Never returns."""
    status = BROKEN
    try:
        _become(birth)
        channel = Session(3)  # named, so that it lives to the end: Python would warn of a socket that nobody closed
        status = serve(channel)
    except system.ParentGone:
        pass  # nobody is left to report to
    except BaseException as error:  # noqa: BLE001 - nothing may pass into the template's frames below
        complain(failures.describe(error).traceback)
    finally:
        os._exit(status)


def _become(birth: Birth) -> None:
    """From a copy of the template to a process of its own.

    Raises:
        ParentGone: The host has died.
    """
    system.set_name("taskrun-worker")  # first: whoever leads a session under the old name is a template
    os.setsid()
    interruption.begin()
    system.seal_descriptors(*birth.descriptors)
    birth.environment.replace({**birth.env, system.MARK: birth.mark} if birth.mark else birth.env)
    if birth.mark:
        birth.environment.show_mark(birth.mark)
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        # Else all draw the same numbers; `random` sees to this itself. Without a seed it would import 15 ms of modules.
        numpy_random.seed(list(os.urandom(32)))
    system.await_adoption(birth.middle, birth.host)
    system.die_with(birth.host)
    gc.enable()  # off in the template, since to collect is to write into memory that it shares with its forks


def serve(channel: Session) -> int:
    """Waits for the call, carries it out, answers; returns the exit status."""
    call = channel.receive_call()
    if call is None:
        return 0  # the runner has thought better of it, or is gone
    worker = os.getpid()
    if not isinstance(call, wire.Call):
        status = _serve_pool(call, channel)
        leave()
        return status
    session.begin(channel)
    answer = carry_out(call, channel)
    if os.getpid() != worker:
        return end_of_fork(answer)
    if threads := leaving.threads():
        channel.send(leaving.warning_of(threads))
    heard = channel.finish(answer)
    session.begin(None)
    if not heard:
        complain("the task closed its channel to the runner (descriptor 3): its result is lost")
    leave()
    return status_of(answer) or (0 if heard else 1)


def _serve_pool(call: wire.Serve | wire.ServeTasks, channel: Session) -> int:
    if isinstance(call, wire.Serve):
        from taskrun.worker import loading  # most workers belong to no pool

        session.setup = call.setup
        return loading.serve(channel, call.target, call.preload)
    from taskrun.worker import tasks

    return tasks.serve(channel, call.setup)
