"""Exceptions as text: whatever their class does, and without the frames of the worker."""

from __future__ import annotations

import pickle

import pytest

import taskrun
from taskrun.worker import failures


def caught(error: BaseException) -> BaseException:
    try:
        raise error  # noqa: TRY301 - for its traceback
    except BaseException as again:
        return again


class Evil(Exception):  # noqa: N818 - that it is
    def __str__(self):
        raise SystemExit("no")

    __repr__ = __str__
    __notes__ = 3


class Silent(ValueError):  # noqa: N818 - that it is
    def __str__(self):
        return ""


class Wrong(Exception):  # noqa: N818 - that it is
    def __str__(self):
        return 3  # noqa: PLE0307 - the point of it


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("a"), "a"),
        (ValueError(), "ValueError()"),
        (Silent("x"), "Silent('x')"),
        (Evil, "Evil (its message cannot be shown)"),
        (Wrong("w"), "Wrong('w')"),
        (ValueError("\udc80"), "\\udc80"),
        (KeyError("k"), "'k'"),
    ],
)
def test_there_is_always_a_message(error, message):
    if isinstance(error, type):  # pytest could not show an instance
        error = error()
    failure = failures.describe(caught(error))
    name, error = type(error).__name__, None
    assert failure.message == message
    assert failure.type_names[0] == name
    assert failure.traceback


def test_type_names_are_those_of_the_bases_below_base_exception():
    assert failures.type_names(FileNotFoundError) == (
        "FileNotFoundError", "builtins.FileNotFoundError", "OSError", "builtins.OSError", "Exception", "builtins.Exception",
    )  # fmt: skip


def test_place_is_the_innermost_frame():
    failure = failures.describe(caught(ValueError("a")))
    assert failure.file == __file__
    assert failure.line > 0


def test_notes_come_with_it():
    error = ValueError("a")
    error.add_note("first")
    error.add_note("second")
    failure = failures.describe(caught(error))
    assert failure.notes == ("first", "second")
    assert failure.traceback.endswith("ValueError: a\nfirst\nsecond\n")


def test_causes_in_a_circle_end():
    one, two = caught(ValueError("one")), caught(ValueError("two"))
    one.__cause__, two.__cause__ = two, one
    assert "one" in failures.describe(one).traceback


def test_retry_and_fail_can_be_pickled_by_a_pool_of_the_tasks_own():
    error = pickle.loads(pickle.dumps(taskrun.Retry(2.5, "busy")))
    assert (error.after, error.reason, str(error)) == (2.5, "busy", "busy")
    assert str(pickle.loads(pickle.dumps(taskrun.Fail("why")))) == "why"
    assert str(pickle.loads(pickle.dumps(taskrun.Cancelled("stop")))) == "stop"


@pytest.mark.parametrize("after", [-1, float("inf"), float("nan")])
def test_retry_takes_no_nonsense(after):
    with pytest.raises(ValueError, match="number of seconds"):
        taskrun.Retry(after)


def test_retry_needs_no_reason():
    assert str(taskrun.Retry()) == "asked for another attempt"
