"""What goes along with requests: progress from handlers, output, and middleware on both sides."""

from __future__ import annotations

import pytest
import trio
from support.duties import Count, Echo, Report, Say, Wait
from support.pools import Sent, gone, run, touch

from taskrun.workers import HandlerFailed


def test_progress_reaches_who_sent_the_request():
    async def test(pool):
        moved = []
        assert await pool.send(Report(3), on_progress=moved.append) == "reported"

        assert moved[0].message == "counting"
        assert moved[0].done is None
        last = moved[-1]
        assert (last.done, last.total, last.message) == (3, 3, "step 3")

    run(test)


def test_progress_of_two_workers_is_not_mixed_up():
    async def test(pool):
        seen = {10: [], 20: []}
        async with trio.open_nursery() as nursery:
            for steps, moved in seen.items():
                nursery.start_soon(lambda steps=steps, moved=moved: pool.send(Report(steps), on_progress=moved.append))
        for steps, moved in seen.items():
            assert {each.total for each in moved[1:]} == {steps}

    run(test, size=2)


def test_a_million_reports_are_thinned_out_and_the_last_arrives():
    async def test(pool):
        moved = []
        await pool.send(Report(200_000), on_progress=moved.append)
        assert len(moved) < 10_000
        assert moved[-1].done == 200_000

    run(test)


def test_what_the_callers_function_raises_comes_out_of_its_own_send_and_the_work_is_ended(tmp_path):
    pids = []

    def refuse(moved):
        pids.append(int(moved.message.split()[1]))
        raise PermissionError("I will not hear it")

    async def test(pool):
        async with trio.open_nursery() as nursery:
            other = Sent(pool, Wait(str(tmp_path / "go")), nursery)
            await other.begun()
            with pytest.raises(PermissionError, match="I will not hear it"):
                await pool.send(Wait(str(tmp_path / "go")), on_progress=refuse)
            gone(*pids)._seen and gone(*pids).assert_gone()
            touch(tmp_path / "go")
        assert other.result
        assert await pool.send(Echo("on")) == "on"

    run(test, size=2)


def test_output_of_handlers_goes_where_the_programs_goes(capfd):
    async def test(pool):
        await pool.send(Say("good morning"))
        await pool.send(Echo())

    run(test)
    out, err = capfd.readouterr()
    assert out == "good morning\n"
    assert err == "good morning\n"


def test_a_pool_prints_nothing_of_its_own(capfd):
    from support.duties import Die

    async def test(pool):
        _ = [each async for each in pool.map([Echo(), Die(), Echo()])]

    run(test, size=2)
    assert capfd.readouterr() == ("", "")


# --- middleware of the program ----------------------------------------------------------------------------------------


def test_middleware_is_passed_from_the_first_to_the_handler_and_back():
    said = []

    def outer(request, call):
        said.append("outer")
        return call(request)  # sync: what it returns may be awaited

    async def inner(request, call):
        said.append("inner")
        text = await call(Echo(request.text + "!"))
        said.append("back")
        return text + "?"

    async def test(pool):
        assert await pool.send(Echo("hello")) == "hello!?"
        assert said == ["outer", "inner", "back"]

    run(test, middleware=[outer, inner])


def test_middleware_may_refuse_or_answer_itself():
    def guard(request, call):
        if request.text == "refused":
            raise PermissionError("no")
        if request.text == "known":
            return "from memory"
        return call(request)

    async def test(pool):
        with pytest.raises(PermissionError):
            await pool.send(Echo("refused"))
        assert await pool.send(Echo("known")) == "from memory"
        assert pool.statistics.completed == 0
        assert await pool.send(Count()) == 1

    def unless_count(request, call):
        return guard(request, call) if isinstance(request, Echo) else call(request)

    run(test, middleware=[unless_count])


def test_middleware_sees_how_a_request_fails():
    seen = []

    async def watch(request, call):
        try:
            return await call(request)
        except HandlerFailed as failure:
            seen.append(failure.type_name)
            raise

    async def test(pool):
        from support.duties import Raise

        with pytest.raises(HandlerFailed):
            await pool.send(Raise("ValueError"))
        assert seen == ["ValueError"]

    run(test, middleware=[watch])


# --- middleware of the workers ----------------------------------------------------------------------------------------

LAYERS = """
from support.duties import Echo
from taskrun.workers import Handlers

said = []

def outer(request, call):
    said.append("outer")
    if request.text == "refused":
        raise PermissionError("not this one")
    return "<" + call(request) + ">"

def inner(request, call):
    said.append("inner")
    return call(Echo(request.text + "!"))

handlers = Handlers(middleware=(outer, inner))

@handlers.on(Echo)
def echo(request):
    return request.text + " " + " ".join(said)
"""


def test_middleware_of_the_workers_wraps_their_handlers(monkeypatch, tmp_path):
    (tmp_path / "layers.py").write_text(LAYERS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))

    async def test(pool):
        assert await pool.send(Echo("hello")) == "<hello! outer inner>"
        with pytest.raises(HandlerFailed, match="not this one") as caught:
            await pool.send(Echo("refused"))
        assert caught.value.type_name == "PermissionError"

    run(test, "layers:handlers")


def test_progress_of_a_thread_that_outlives_its_request_is_not_taken_for_the_next_ones(monkeypatch, tmp_path):
    (tmp_path / "threads.py").write_text(
        """
import threading, time
import taskrun
from support.duties import Echo, Wait, wait
from taskrun.workers import Handlers
handlers = Handlers()

@handlers.on(Echo)
def echo(request):
    taskrun.progress(1, 2, request.text)
    return request.text
""",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    async def test(pool):
        first, second = [], []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: pool.send(Echo("first"), on_progress=first.append))
            nursery.start_soon(lambda: pool.send(Echo("second"), on_progress=second.append))
        assert [each.message for each in first] == ["first"]
        assert [each.message for each in second] == ["second"]

    run(test, "threads:handlers", prefetch=2)
