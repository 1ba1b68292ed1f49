"""What no pool could work with is refused before anything is started, with the setting's name."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor

import pytest
import trio
from support.duties import TARGET, Echo

from taskrun.workers import Executor, Restarts, RetryOnCrash, Timeouts, WorkerStartFailed, open_pool

NAN = float("nan")


def opened(target=TARGET, **settings):
    async def main():
        with trio.fail_after(30):
            async with open_pool(target, **settings):
                raise AssertionError

    trio.run(main)


@pytest.mark.parametrize("name", ["size", "prefetch", "max_queue", "max_requests", "max_memory"])
def test_a_number_below_one_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        opened(**{name: 0})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("spares", -1),
        ("grace", -1),
        ("grace", NAN),
        ("idle_timeout", -0.1),
        ("timeouts.startup", Timeouts(startup=-1)),
        ("timeouts.message", Timeouts(message=NAN)),
        ("the timeout of `Echo`", Timeouts(per_message={Echo: -1})),
        ("on_crash.attempts", RetryOnCrash(attempts=0)),
        ("on_crash.attempts", {Echo: RetryOnCrash(attempts=0)}),
        ("restarts.most", Restarts(most=-1)),
        ("restarts.within", Restarts(within=-1)),
    ],
)
def test_a_number_out_of_range_is_refused(name, wrong):
    setting = "timeouts" if name.startswith("the") else name.partition(".")[0]
    with pytest.raises(ValueError, match=f"^{name} must be at least "):
        opened(**{setting: wrong})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("size", "2"),
        ("prefetch", 1.5),
        ("spares", None),
        ("grace", None),
        ("idle_timeout", "1"),
        ("timeouts", 5.0),
        ("timeouts", Timeouts(message="1")),
        ("timeouts", Timeouts(per_message={"Echo": 1})),
        ("on_crash", 2),
        ("on_crash", {Echo: 2}),
        ("on_crash", {"Echo": RetryOnCrash()}),
        ("restarts", 3),
        ("preload", "json"),
        ("middleware", [None]),
    ],
)
def test_what_is_of_another_type_is_refused(name, wrong):
    with pytest.raises(TypeError, match=f"^{name}"):
        opened(**{name: wrong})


@pytest.mark.parametrize("target", ["", "module", "module:", ":name", ".module:name", "module name:name"])
def test_what_names_no_handlers_is_refused(target):
    with pytest.raises(ValueError, match='must be of the form "module:name", not '):
        opened(target)


def test_the_main_module_is_another_one_in_workers():
    with pytest.raises(ValueError, match="as workers can import it"):
        opened("__main__:handlers")


def test_the_handlers_themselves_are_not_their_name():
    with pytest.raises(TypeError, match="target must say where the handlers are"):
        opened(object())


def test_a_folder_that_is_not_there_is_named(tmp_path, monkeypatch):
    with pytest.raises(WorkerStartFailed, match="nowhere") as caught:
        opened(cwd=tmp_path / "nowhere")
    assert caught.value.kind == "spawn"

    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    with pytest.raises(WorkerStartFailed, match="folder is not there any more"):
        opened()
    with Executor(1) as executor, pytest.raises(BrokenExecutor, match="folder is not there any more"):
        executor.submit(abs, 1).result(30)


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"timeout": -1}, ValueError),
        ({"timeout": "1"}, TypeError),
        ({"grace": -1}, ValueError),
        ({"startup_timeout": -1}, ValueError),
        ({"idle_timeout": "1"}, TypeError),
        ({"max_memory": 0}, ValueError),
        ({"preload": "json"}, TypeError),
        ({"max_workers": 1.5}, TypeError),
    ],
)
def test_an_executor_refuses_the_same(wrong, kind):
    with pytest.raises(kind):
        Executor(**wrong)


@pytest.mark.parametrize(("wrong", "kind"), [(-1, ValueError), (NAN, ValueError), ("1", TypeError)])
def test_an_executor_refuses_a_call_s_timeout(wrong, kind):
    with Executor(1) as executor, pytest.raises(kind, match=r"^timeout must be"):
        executor.schedule(abs, (1,), timeout=wrong)
