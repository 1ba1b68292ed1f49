"""What mypy and pyright make of typed workers: they know the results, and find what does not fit."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECKERS = ("mypy", "pyright")

CONTRACT = """
from __future__ import annotations

import concurrent.futures
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from taskrun.workers import AsyncHandlers, Buffer, Executor, Handlers, Moved, Pool, Request, RetryOnCrash, SharedBuffer
from taskrun.workers import Timeouts, open_pool, open_worker


@dataclass(frozen=True)
class Resized:
    path: str


@dataclass(frozen=True)
class Resize(Request[Resized]):
    path: str


@dataclass(frozen=True)
class Count(Request[int]):
    pass


@dataclass(frozen=True)
class Forget(Request[None]):
    pass


@dataclass(frozen=True)
class Find(Request[str | None]):
    pass


@dataclass(frozen=True)
class Pack(Request[Buffer]):
    data: Buffer
    counts: SharedBuffer


class State:
    count: int = 0


@contextmanager
def open_state() -> Generator[State]:
    yield State()


@asynccontextmanager
async def open_async_state() -> AsyncIterator[State]:
    yield State()


handlers = Handlers(state=open_state)
stateless = Handlers()
waiting = AsyncHandlers(state=open_async_state)
waiting_plainly = AsyncHandlers(state=open_state)
waiting_stateless = AsyncHandlers()


@handlers.on(Resize)
def resize(request: Resize, state: State) -> Resized:
    return Resized(request.path)


@stateless.on(Count)
def count(request: Count) -> int:
    return 1


@stateless.on(Forget)
def forget(request: Forget) -> None:
    pass


@waiting.on(Resize)
async def resize_later(request: Resize, state: State) -> Resized:
    return Resized(request.path)


@waiting.on(Find)
def find(request: Find, state: State) -> str | None:
    return None


@waiting_plainly.on(Forget)
async def forget_later(request: Forget, state: State) -> None:
    pass


@waiting_stateless.on(Count)
async def count_later(request: Count) -> int:
    return 1


async def later() -> AsyncIterator[Resize]:
    yield Resize("later")
"""

# `#: T` says what `reveal_type` shows.
RIGHT = """
reveal_type(handlers)  #: Handlers[State]
reveal_type(resize)  #: (Resize, State) -> Resized
reveal_type(count)  #: (Count) -> int
reveal_type(waiting)  #: AsyncHandlers[State]
reveal_type(waiting_plainly)  #: AsyncHandlers[State]


async def directly() -> None:
    reveal_type(await resize_later(Resize("a"), State()))  #: Resized
    reveal_type(await count_later(Count()))  #: int
    reveal_type(find(Find(), State()))  #: str | None


async def main() -> None:
    async with open_pool(
        "images:handlers", size=4, timeouts=Timeouts(per_message={Resize: 30}), on_crash={Resize: RetryOnCrash()}
    ) as pool:
        reveal_type(pool)  #: Pool
        reveal_type(await pool.send(Resize("a"), timeout=3, on_progress=print))  #: Resized
        reveal_type(await pool.send(Count()))  #: int
        reveal_type(await pool.send(Forget()))  #: None
        reveal_type(await pool.send(Find()))  #: str | None
        with SharedBuffer(64) as shared:
            reveal_type(shared.counter(8).add())  #: int
            packed = await pool.send(Pack(Buffer(shared.view), shared))
            reveal_type(packed)  #: Buffer
            reveal_type(Buffer(b"abc").view)  #: memoryview[int]
        reveal_type(await pool.send_nowait(Count(), priority=1))  #: int
        async for done in pool.map(Resize(name) for name in "abc"):
            reveal_type(done)  #: Done[Resize]
            reveal_type(done.request.path)  #: str
            reveal_type(done.result)  #: Resized
            reveal_type(done.failure)  #: Exception | None
        async for counted in pool.map([Count(), Count()], ahead=2):
            reveal_type(counted.result)  #: int
        async for resized in pool.map(later()):
            reveal_type(resized.result)  #: Resized
    async with open_worker("images:handlers", prefetch=2, timeouts=Timeouts(message=3)) as worker:
        reveal_type(await worker.send(Count()))  #: int


def square(number: int, *, times: int = 1) -> float:
    return float(number**2 * times)


def outside_trio() -> None:
    with Executor(2, timeout=3, initializer=print, initargs=("a",)) as executor:
        reveal_type(executor.submit(square, 3, times=2))  #: Future[float]
        reveal_type(executor.submit(square, 3).result(timeout=1))  #: float
        reveal_type(executor.schedule(square, [3], timeout=None))  #: Future[float]
        reveal_type(list(executor.map(square, [1, 2], chunksize=2, buffersize=3)))  #: list[float]
        reveal_type(executor.kill(executor.submit(square, 3)))  #: bool
    futures: concurrent.futures.Executor = executor
    futures.shutdown(cancel_futures=True)


def told(moved: Moved) -> str:
    reveal_type(moved.done)  #: float | None
    return moved.message
"""

# `# wrong` stands on each line in which a checker must find something.
WRONG = """
@handlers.on(Resize)  # wrong
def returns_something_else(request: Resize, state: State) -> int:
    return 1


@handlers.on(Resize)  # wrong
def takes_another_request(request: Count, state: State) -> Resized:
    return Resized("")


@handlers.on(Resize)  # wrong
def takes_no_state(request: Resize) -> Resized:
    return Resized("")


@handlers.on(Resize)  # wrong
def takes_another_state(request: Resize, state: int) -> Resized:
    return Resized("")


@stateless.on(Count)  # wrong
def takes_a_state_that_is_not_there(request: Count, state: State) -> int:
    return 1


@handlers.on(Resize)  # wrong
async def is_async(request: Resize, state: State) -> Resized:
    return Resized("")


@waiting.on(Resize)  # wrong
async def returns_something_else_later(request: Resize, state: State) -> int:
    return 1


@waiting.on(Resize)  # wrong
async def takes_another_request_later(request: Count, state: State) -> Resized:
    return Resized("")


@waiting.on(Resize)  # wrong
async def takes_no_state_later(request: Resize) -> Resized:
    return Resized("")


@waiting.on(Resize)  # wrong
async def yields(request: Resize, state: State) -> AsyncIterator[Resized]:
    yield Resized("")


@waiting_stateless.on(Count)  # wrong
async def takes_a_state_that_is_not_there_later(request: Count, state: State) -> int:
    return 1


@waiting_stateless.on(Count)  # wrong
def returns_text(request: Count) -> str:
    return ""


@handlers.on(int)  # wrong
def handles_no_request(request: int, state: State) -> int:
    return 1


async def main(pool: Pool) -> None:
    with Executor("2") as executor:  # wrong
        executor.submit(print, file=3)  # wrong
        executor.submit(3)  # wrong
        number: int = executor.submit(str, 3).result()  # wrong
    text: str = await pool.send(Count())  # wrong
    print((await pool.send(Resize("a"))).width)  # wrong
    await pool.send(3)  # wrong
    await pool.send(Count(), prio=3)  # wrong
    pool.map(["a"])  # wrong
    async for done in pool.map([Count()]):
        text = done.result  # wrong
        print(done.request.path, text)  # wrong


AsyncHandlers(state=State)  # wrong
Handlers(state=open_async_state)  # wrong
open_pool("images:handlers", size="4")  # wrong
open_worker("images:handlers", size=3)  # wrong
open_worker("images:handlers", timeouts=5)  # wrong
open_worker("images:handlers", prefecth=5)  # wrong
"""

pytestmark = pytest.mark.slow


@pytest.fixture(params=CHECKERS)
def checker(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"no {request.param} here")
    return request.param


def test_the_results_of_requests_are_known(checker: str, tmp_path: Path):
    source = CONTRACT + RIGHT
    found = check(checker, source, tmp_path)
    assert [each for each in found if each[1] == "error"] == []
    shown = {line: simplified(text) for line, kind, text in found if kind == "shown"}
    assert shown == {
        number: line.partition("  #: ")[2] for number, line in enumerate(source.splitlines(), 1) if "  #: " in line
    }


def test_what_does_not_fit_is_found_where_it_stands(checker: str, tmp_path: Path):
    source = CONTRACT + WRONG
    found = {line for line, kind, _ in check(checker, source, tmp_path) if kind == "error"}
    assert found == {number for number, line in enumerate(source.splitlines(), 1) if line.endswith("# wrong")}


def test_open_worker_takes_every_setting_of_open_pool_but_the_size():
    import inspect

    from taskrun.workers.opening import WorkerSettings, open_pool

    known = inspect.signature(open_pool).parameters.values()
    wanted = {each.name: each.annotation for each in known if each.kind is each.KEYWORD_ONLY and each.name != "size"}
    assert {
        name: getattr(hint, "__forward_arg__", hint) for name, hint in WorkerSettings.__annotations__.items()
    } == wanted


def check(checker: str, source: str, folder: Path) -> list[tuple[int, str, str]]:
    """Line, "error" or "shown", and text of all that a checker says about a module."""
    (folder / "example.py").write_text(source)
    return {"mypy": _mypy, "pyright": _pyright}[checker](folder)


def _mypy(folder: Path) -> list[tuple[int, str, str]]:
    argv = [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.11", "--config-file="]
    argv += ["--cache-dir", str(folder.parent / "mypy"), "example.py"]
    environ = os.environ | {"MYPYPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, timeout=300)
    assert not done.stderr, done.stderr
    found = re.findall(r"^example\.py:(\d+): (error|note): (.*)$", done.stdout, re.MULTILINE)
    kinds = {"error": "error", "note": "shown"}
    return [(int(line), kinds[kind], text) for line, kind, text in found if kind == "error" or "Revealed" in text]


def _pyright(folder: Path) -> list[tuple[int, str, str]]:
    settings = {"extraPaths": [str(ROOT)], "typeCheckingMode": "standard", "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    argv = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=300)
    try:
        found = json.loads(done.stdout)["generalDiagnostics"]
    except ValueError:
        pytest.skip(f"pyright does not run here: {done.stderr[-200:]}")  # it fetches a Node of its own
    kinds = {"error": "error", "information": "shown"}
    return [
        (each["range"]["start"]["line"] + 1, kinds[each["severity"]], each["message"])
        for each in found
        if each["severity"] in kinds
    ]


def simplified(text: str) -> str:
    """A revealed type without the words around it, and classes without their modules."""
    quoted = re.search(r'(?:Revealed type is|Type of .* is) "(.*)"$', text)
    assert quoted, text
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", quoted[1]).removeprefix("def ")
