"""What `workers.py` measures: a record of five fields, sent to a worker and back, by each of several pools.

python tests/benchmarks/echoing.py CONTENDER COUNT: prints seconds of a round trip and requests a second with 64 in
flight on two workers, as JSON on stderr.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass

IN_FLIGHT = 64
WORKERS = 2


@dataclass(frozen=True)
class Record:
    number: int
    name: str
    size: float
    tags: list[str]
    done: bool


def record(number: int) -> Record:
    return Record(number, "a/picture/of/something.png", 0.5, ["a", "b"], True)


def echo(given: Record) -> Record:
    return given


def floor(count: int) -> tuple[float, float]:
    """Blocking sockets and pickle: two children, and nobody who watches over them."""

    def child():
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            ours.close()
            file = theirs.makefile("rwb")
            while True:
                try:
                    pickle.dump(echo(pickle.load(file)), file, 5)
                except EOFError:
                    os._exit(0)
                file.flush()
        theirs.close()
        return ours.makefile("rwb")

    def send(file, number):
        pickle.dump(record(number), file, 5)
        file.flush()

    files = [child() for _ in range(WORKERS)]

    def one(number):
        send(files[0], number)
        pickle.load(files[0])

    def many():
        waiting = deque()
        for number in range(count):
            if len(waiting) == IN_FLIGHT:
                pickle.load(waiting.popleft())
            send(files[number % WORKERS], number)
            waiting.append(files[number % WORKERS])
        for file in waiting:
            pickle.load(file)

    one(0)
    return best_of(count, one), count / timed(many)


def taskrun(count: int, prefetch: int) -> tuple[float, float]:
    import trio
    from echoing_handlers import Echo

    from taskrun.workers import open_pool

    async def main():
        async with open_pool("echoing_handlers:handlers", size=WORKERS, prefetch=prefetch) as pool:

            async def one(number):
                await pool.send(Echo(number, "a/picture/of/something.png", 0.5, ["a", "b"], True))

            return await in_trio(count, one)

    return trio.run(main)


def trio_parallel(count: int) -> tuple[float, float]:
    import trio
    import trio_parallel as pool

    async def main():
        limiter = trio.CapacityLimiter(WORKERS)

        async def one(number):
            await pool.run_sync(echo, record(number), limiter=limiter)

        return await in_trio(count, one)

    return trio.run(main)


async def in_trio(count: int, one) -> tuple[float, float]:
    import trio

    async def some(numbers):
        for number in numbers:
            await one(number)

    await some(range(10))
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        await some(range(count // 20))
        best = min(best, (time.perf_counter() - began) / (count // 20))
    numbers = iter(range(count))
    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(IN_FLIGHT):
            nursery.start_soon(some, numbers)
    return best, count / (time.perf_counter() - began)


def executor(count: int, kind: str, **settings) -> tuple[float, float]:
    """Whatever has `submit` or the like, which returns a future with `result`."""
    if kind == "pebble":
        from pebble import ProcessPool

        pool = ProcessPool(max_workers=WORKERS)
        submit = lambda number: pool.schedule(echo, args=[record(number)]).result  # noqa: E731 - three of a kind
        end = lambda: (pool.close(), pool.join())  # noqa: E731
    elif kind == "mpire":
        from mpire import WorkerPool

        pool = WorkerPool(WORKERS)
        submit = lambda number: pool.apply_async(echo, (record(number),)).get  # noqa: E731
        end = lambda: (pool.stop_and_join(), pool.terminate())  # noqa: E731
    else:
        if kind == "loky":
            from loky import ProcessPoolExecutor
        elif kind == "taskrun":
            from taskrun.workers import Executor as ProcessPoolExecutor
        else:
            from concurrent.futures import ProcessPoolExecutor
        pool = ProcessPoolExecutor(WORKERS, **settings)
        submit = lambda number: pool.submit(echo, record(number)).result  # noqa: E731
        end = pool.shutdown

    def many():
        waiting = deque()
        for number in range(count):
            if len(waiting) == IN_FLIGHT:
                waiting.popleft()()
            waiting.append(submit(number))
        for get in waiting:
            get()

    try:
        for _ in range(10):
            submit(0)()
        return best_of(count, lambda number: submit(number)()), count / timed(many)
    finally:
        end()


def best_of(count: int, one) -> float:
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for number in range(count // 20):
            one(number)
        best = min(best, (time.perf_counter() - began) / (count // 20))
    return best


def timed(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


CONTENDERS = {
    "floor": floor,
    "taskrun-1": lambda count: taskrun(count, 1),
    "taskrun-16": lambda count: taskrun(count, 16),
    "taskrun-executor": lambda count: executor(count, "taskrun"),
    "taskrun-executor-16": lambda count: executor(count, "taskrun", prefetch=16),
    "concurrent.futures": lambda count: executor(count, "futures"),
    "trio_parallel": trio_parallel,
    "loky": lambda count: executor(count, "loky"),
    "pebble": lambda count: executor(count, "pebble"),
    "mpire": lambda count: executor(count, "mpire"),
}

if __name__ == "__main__":
    import echoing  # what workers import, and not `__main__`

    trip, rate = echoing.CONTENDERS[sys.argv[1]](int(sys.argv[2]))
    sys.stderr.write(json.dumps({"trip": trip, "rate": rate}) + "\n")
