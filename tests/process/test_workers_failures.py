"""Handlers of typed workers that raise, and requests and results that do not fit: told at once, to whom it concerns."""

from __future__ import annotations

import pytest
from support.duties import Count, Echo, Fork, Long, Raise, Return, Unhandled, WhoAreYou
from support.pools import run

from taskrun.workers import ContractMistake, HandlerFailed, WorkerStartFailed

NAMES = {"Huge": "ValueError", "Surrogate": "ValueError", "NoException": "TypeError"}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("ValueError", "it is wrong"),
        ("TwoArguments", "1"),
        ("BaseException", "the base of all"),
        ("GeneratorExit", "GeneratorExit"),
        ("SystemExit", "3"),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
        ("StopIteration", "over"),
        ("RecursionError", "maximum recursion depth exceeded"),
        ("ExceptionGroup", "both (2 sub-exceptions)"),
        ("Huge", "xxx"),
        ("Surrogate", "\\ud800"),
        ("Unshowable", "cannot be shown"),
        ("NoException", "exceptions must derive from BaseException"),
    ],
)
def test_whatever_a_handler_raises_arrives_and_the_worker_goes_on(what, message):
    async def test(pool):
        assert await pool.send(Count()) == 1

        with pytest.raises(HandlerFailed) as caught:
            await pool.send(Raise(what))

        failure = caught.value
        assert failure.type_name == NAMES.get(what, what)
        assert message in failure.message
        assert failure.operation == "Raise"
        assert await pool.send(Count()) == 2  # the same worker
        assert pool.statistics.failed == 1
        assert pool.statistics.started == 1

    run(test)


def test_a_failure_comes_with_its_traceback_and_its_notes():
    async def test(pool):
        with pytest.raises(HandlerFailed) as caught:
            await pool.send(Raise("ValueError"))

        failure = caught.value
        assert failure.notes == ("and this is why",)
        assert "support/duties.py" in failure.traceback
        assert "serving.py" not in failure.traceback
        assert failure.traceback.rstrip() in failure.__notes__[0]
        assert str(failure) == "the handler of `Raise` raised ValueError: it is wrong"

    run(test)


@pytest.mark.parametrize("what", ["function", "text", "huge", "surrogate", "nested"])
def test_a_result_that_cannot_be_carried_or_is_another_fails_its_request_alone(what):
    async def test(pool):
        with pytest.raises(HandlerFailed):
            await pool.send(Return(what))
        assert await pool.send(Count()) == 1
        assert pool.statistics.started == 1

    run(test)


def test_a_result_beyond_the_limit_is_refused_by_its_size():
    async def test(pool):
        with pytest.raises(HandlerFailed, match="more than the 67,108,864 that may be sent"):
            await pool.send(Long(70 << 20, "x"))
        assert await pool.send(Count()) == 1
        assert pool.statistics.started == 1

    run(test)


@pytest.mark.parametrize("text", ["\ud800", "x" * (70 << 20)], ids=["surrogate", "70 MiB"])
def test_a_request_that_cannot_be_carried_is_a_mistake_of_the_caller(text):
    async def test(pool):
        with pytest.raises(ContractMistake):
            await pool.send(Echo(text))
        assert await pool.send(Count()) == 1
        assert pool.statistics.started == 1

    run(test)


def test_what_is_no_request_is_a_mistake_of_the_caller():
    async def test(pool):
        with pytest.raises(ContractMistake):
            await pool.send("a text")
        assert await pool.send(Count()) == 1

    run(test)


def test_a_request_that_nobody_handles_is_told_before_it_is_sent():
    async def test(pool):
        with pytest.raises(WorkerStartFailed, match="no handler of `Unhandled`") as caught:
            await pool.send(Unhandled())
        assert caught.value.kind == "contract"
        assert await pool.send(Count()) == 1

    run(test)


@pytest.mark.parametrize(("times", "text"), [(400_000, "€"), (5_000_000, "𝄞"), (10_000_000, "é")])
def test_text_of_many_bytes_comes_back_whole(times, text):
    async def test(pool):
        assert await pool.send(Echo(times * text)) == times * text
        assert await pool.send(Long(times, text)) == times * text

    run(test)


@pytest.mark.parametrize("stays", [False, True])
def test_a_process_that_a_handler_forks_answers_nothing_and_takes_nothing(stays):
    async def test(pool):
        worker = await pool.send(WhoAreYou())
        for _ in range(3):
            assert await pool.send(Fork(stays=stays)) == worker
            for _ in range(5):
                assert await pool.send(WhoAreYou()) == worker
        assert pool.statistics.started == 1

    run(test)
