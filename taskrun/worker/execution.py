"""One call: from the target's name to its result or failure. It raises nothing, and knows not what worker it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from taskrun.worker import encoding, failures, framing, session, targets, wire
from taskrun.worker.convert import bind, prepare
from taskrun.worker.leaving import leave
from taskrun.worker.stopping import Cancelled, interruption

if TYPE_CHECKING:
    from taskrun.worker.session import Session


def end_of_fork(answer: wire.Result | wire.Failure) -> int:
    """A process that the function forked has come out of it: it ends as any Python program, and answers for nobody."""
    if isinstance(answer, wire.Failure):
        session.show(answer.traceback)  # as Python does
    leave()
    return status_of(answer)


def status_of(answer: wire.Result | wire.Failure) -> int:
    """The exit status of a worker that has no other call to carry out."""
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
    if len(data) > framing.RESULT_LIMIT:
        size = f"{len(data) / 2**20:.0f} MiB as JSON, the limit is {framing.RESULT_LIMIT // 2**20} MiB"
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
