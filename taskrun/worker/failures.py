"""Exceptions of task functions as text: nothing of them is ever pickled, and showing one never fails."""

from __future__ import annotations

import contextlib
import os
import traceback
from typing import TYPE_CHECKING

from taskrun.worker import wire

if TYPE_CHECKING:
    from types import TracebackType

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep
_TEXT_LIMIT = 64 * 1024


class Retry(Exception):  # noqa: N818 - a wish, not an error
    """Ends this attempt and asks for another, whatever `retry.on` says, within `retry.attempts`.

    Args:
        after: Seconds to wait first; ``None``: as `retry.delay` says.
        reason: For people.
    """

    __module__ = "taskrun"

    def __init__(self, after: float | None = None, reason: str = "") -> None:
        super().__init__(after, reason)
        if after is not None and not 0 <= after < float("inf"):
            raise ValueError(f"after must be a number of seconds, not {after!r}")
        self.after = after
        self.reason = reason

    def __str__(self) -> str:
        return self.reason or "asked for another attempt"


class Fail(Exception):  # noqa: N818 - a task fails; errors are ours or the user's
    """Ends the task as failed for a reason that needs no traceback."""

    __module__ = "taskrun"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def describe(error: BaseException, kind: str = "exception") -> wire.Failure:
    """The failure that ``error`` is. Never raises, whatever the exception's class does."""
    try:
        return _describe(error, kind)
    except MemoryError:
        _let_go(error)
    except BaseException:  # noqa: BLE001, S110 - a hostile __str__ or __cause__; less is said below
        pass
    name = type(error).__name__
    text = f"{name} (its traceback cannot be shown)\n"
    return wire.Failure(kind=kind, message=name, type_names=(name,), traceback=text)


def _describe(error: BaseException, kind: str) -> wire.Failure:
    file, line = place(error.__traceback__)
    return wire.Failure(
        kind=kind,
        message=message(error),
        type_names=type_names(type(error)),
        traceback=format_traceback(error),
        notes=_notes(error),
        file=file,
        line=line,
    )


def type_names(kind: type[BaseException]) -> tuple[str, ...]:
    """The class and its bases below ``BaseException``, nearest first, each as ``Name`` and ``module.Name``."""
    names: list[str] = []
    for base in kind.__mro__:
        if base in (BaseException, object):
            continue
        names += [str(base.__name__), f"{base.__module__}.{base.__qualname__}"]
    return tuple(dict.fromkeys(names))


def message(error: BaseException) -> str:
    """``str()`` of it, its repr where that says nothing or fails, and never nothing."""
    for show in (str, repr):
        try:
            text = show(error)
        except MemoryError:
            raise
        except BaseException:  # noqa: BLE001, S112 - a user's __str__ may do anything
            continue
        if text:
            return _shorten(text)
    return f"{type(error).__name__} (its message cannot be shown)"


def format_traceback(error: BaseException) -> str:
    """As Python prints it, with causes, groups and notes, less the frames of the worker itself."""
    own = own_frames_off(error.__traceback__)
    text = "".join(traceback.TracebackException(type(error), error, own, compact=True).format())
    return _shorten(text)


def own_frames_off(frames: TracebackType | None) -> TracebackType | None:
    """``frames`` from the first that is neither the worker's nor the import system's; all of it where there is none."""
    rest = frames
    while rest is not None and _is_own(rest):
        rest = rest.tb_next
    return rest


def _notes(error: BaseException) -> tuple[str, ...]:
    notes = getattr(error, "__notes__", ())
    return tuple(_shorten(note) for note in notes if isinstance(note, str)) if isinstance(notes, list) else ()


def place(frames: TracebackType | None) -> tuple[str, int]:
    """File and line of the innermost frame that belongs to a file; ``("", 0)`` where there is none."""
    file, line = "", 0
    while frames is not None:
        if not _is_own(frames):
            file, line = frames.tb_frame.f_code.co_filename, frames.tb_lineno or 0
        frames = frames.tb_next
    return file, line


def _is_own(frames: TracebackType) -> bool:
    file = frames.tb_frame.f_code.co_filename
    return file.startswith((_OWN, "<frozen importlib")) or file.endswith(_IMPORTLIB)


_IMPORTLIB = os.path.join("importlib", "__init__.py")


def _let_go(error: BaseException) -> None:
    """Frees what the dead frames hold, so that there is memory to say anything at all."""
    with contextlib.suppress(BaseException):
        traceback.clear_frames(error.__traceback__)


def _shorten(text: str) -> str:
    """Keeps both ends of what is too long; what UTF-8 cannot hold is escaped."""
    if len(text) > _TEXT_LIMIT:
        half = _TEXT_LIMIT // 2
        text = f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()
