"""A worker's life, from the fork to ``_exit``: becomes a process of its own, carries out one call, and leaves."""

from __future__ import annotations

import gc
import os
import sys
from typing import Any, NoReturn

import msgspec

from taskrun.worker import encoding, failures, session, system, targets, wire
from taskrun.worker.convert import bind, prepare
from taskrun.worker.leaving import leave
from taskrun.worker.session import Session, complain
from taskrun.worker.stopping import Cancelled, interruption

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
    if isinstance(call, wire.Serve):
        from taskrun.worker import loading  # most workers belong to no pool

        session.setup = call.setup
        status = loading.serve(channel, call.target)
        leave()
        return status
    session.begin(channel)
    answer = carry_out(call, channel)
    if os.getpid() != worker:
        return _end_of_fork(answer)
    _warn_of_threads(channel)
    heard = channel.finish(answer)
    session.begin(None)
    if not heard:
        complain("the task closed its channel to the runner (descriptor 3): its result is lost")
    leave()
    return _status(answer) or (0 if heard else 1)


def _end_of_fork(answer: wire.Result | wire.Failure) -> int:
    """A process that the function forked has come out of it: it ends as any Python program, and answers for nobody."""
    if isinstance(answer, wire.Failure):
        session.show(answer.traceback)  # as Python does
    leave()
    return _status(answer)


def _status(answer: wire.Result | wire.Failure) -> int:
    if isinstance(answer, wire.Failure):
        return 1 if answer.code is None else answer.code
    return 0


def carry_out(call: wire.Call, channel: Session) -> wire.Result | wire.Failure:
    """Imports, converts, calls, and encodes what came back. Raises nothing."""
    try:
        return _carry_out(call, channel)
    except BaseException as error:  # noqa: BLE001 - a task may raise anything
        interruption.forbid()
        return _failure(error)


def _carry_out(call: wire.Call, channel: Session) -> wire.Result | wire.Failure:
    interruption.allow()
    try:
        function, signature = prepare(call.target)
    except targets.TargetMistake as mistake:
        return _import_failure(mistake.mistake)
    bound = bind(signature, call.args, call.kwargs, lax=call.lax)
    if bound.problems:
        return wire.Failure(kind="arguments", message="; ".join(_problem(problem) for problem in bound.problems))
    channel.start(call)
    try:
        value = function(*bound.args, **bound.kwargs)
    finally:
        interruption.forbid()
    return encode_result(value)


def encode_result(value: object) -> wire.Result | wire.Failure:
    """The result as JSON, or why it cannot be sent back."""
    try:
        data = encoding.to_json(value)
    except encoding.NotJson as error:
        close = getattr(value, "close", None)
        if type(value).__name__ == "coroutine" and close is not None:
            close()  # or Python warns that it was never awaited
        return wire.Failure(kind="result", message=f"its result cannot be sent back: {error}")
    if len(data) > wire.RESULT_LIMIT:
        size = f"{len(data) / 2**20:.0f} MiB as JSON, the limit is {wire.RESULT_LIMIT // 2**20} MiB"
        hint = "write it to a file and return the path"
        return wire.Failure(kind="result", message=f"its result cannot be sent back: it takes {size}; {hint}")
    return wire.Result(value=data)


def _failure(error: BaseException) -> wire.Result | wire.Failure:
    match error:
        case SystemExit():
            return _exit(error)
        case Cancelled():
            return _untraced(failures.describe(error, "cancelled"))
        case failures.Retry():
            after = 0.0 if error.after is None else float(error.after)
            failure = msgspec.structs.replace(failures.describe(error, "retry"), retry_after=after)
            return failure if error.__cause__ or error.__context__ else _untraced(failure)
        case failures.Fail():
            return _untraced(failures.describe(error, "fail"))
        case _:
            return failures.describe(error)


def _untraced(failure: wire.Failure) -> wire.Failure:
    """Where it was raised helps nobody: it was raised on purpose. A reason of several lines is shown in its place."""
    text = failure.message.strip()
    return msgspec.structs.replace(failure, traceback=f"{text}\n" if "\n" in text else "")


def _exit(error: SystemExit) -> wire.Result | wire.Failure:
    """As Python itself takes ``sys.exit``: nothing and 0 are success, a number is the status, all else is said."""
    code = error.code
    if code is None or code == 0:
        return wire.Result(value=b"null")
    if isinstance(code, int):
        return wire.Failure(kind="exit", message=f"exit {code & 0xFF}", code=code & 0xFF)
    text = failures.message(error)
    session.show(f"{text}\n")  # as Python does
    return wire.Failure(kind="exit", message=text, code=1)


def _import_failure(mistake: wire.Mistake) -> wire.Failure:
    message = f"{mistake.message} ({mistake.hint})" if mistake.hint else mistake.message
    return wire.Failure(
        kind="import", message=message, traceback=mistake.traceback, file=mistake.file, line=mistake.line
    )


def _problem(problem: wire.CallProblem) -> str:
    where = problem.argument + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem.path)
    return f"`{where}`: {problem.message}" + (f" ({problem.hint})" if problem.hint else "")


def _warn_of_threads(channel: Session) -> None:
    """Threads that go on are not waited for: says that they die with the worker."""
    threading = sys.modules.get("threading")  # not imported by us: with it each fork costs a third more
    if threading is None:
        return
    others = [t for t in threading.enumerate() if not t.daemon and t is not threading.current_thread()]
    if others:
        names = ", ".join(thread.name for thread in others[:5]) + (", ..." if len(others) > 5 else "")
        text = f"{len(others)} thread{'s' * (len(others) != 1)} still running: {names}"
        channel.send(wire.Message(level="warning", text=text))
