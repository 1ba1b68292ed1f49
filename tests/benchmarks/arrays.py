"""What `workers.py` measures of arrays: 100 MB to a worker, and their sum back; and a million additions by four workers.

python tests/benchmarks/arrays.py CONTENDER COUNT: prints the best and the median of COUNT times, in seconds, as JSON on
stderr. `memcpy` is the floor: a copy within one process, into memory that is there; `sum` is what the worker does.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import numpy as np

NUMBERS = 12_500_000
ADDITIONS = 1_000_000
ADDERS = 4


def total(array: np.ndarray) -> float:
    return float(array.sum())


def times(count: int, one) -> list[float]:
    one()
    found = []
    for _ in range(count):
        began = time.perf_counter()
        one()
        found.append(time.perf_counter() - began)
    return found


def memcpy(count: int) -> list[float]:
    source = np.ones(NUMBERS)
    target = np.zeros(NUMBERS)
    return times(count, lambda: np.copyto(target, source))


def add_up(count: int) -> list[float]:
    source = np.ones(NUMBERS)
    return times(count, source.sum)


def taskrun(count: int) -> list[float]:
    from arrays_handlers import Sum

    return _taskrun(count, "arrays_handlers:handlers", Sum)


def taskrun_back(count: int) -> list[float]:
    from arrays_handlers import Same

    return _taskrun(count, "arrays_handlers:handlers", Same)


def _taskrun(count: int, target: str, kind) -> list[float]:
    import trio

    from taskrun.workers import open_worker

    async def main() -> list[float]:
        source = np.ones(NUMBERS)
        async with open_worker(target) as worker:
            found = []
            for _ in range(count + 1):
                began = time.perf_counter()
                await worker.send(kind(source))
                found.append(time.perf_counter() - began)
        return found[1:]

    return trio.run(main)


def adders(count: int) -> list[float]:
    """Seconds for all additions together; not of arrays."""
    import trio
    from arrays_handlers import Add

    from taskrun.workers import SharedBuffer, open_pool

    async def main() -> list[float]:
        found = []
        async with open_pool("arrays_handlers:handlers", size=ADDERS) as pool:
            for _ in range(min(count, 3)):
                with SharedBuffer(8) as shared:
                    began = time.perf_counter()
                    async with trio.open_nursery() as nursery:
                        for _ in range(ADDERS):
                            nursery.start_soon(pool.send, Add(shared, ADDITIONS))
                    found.append(time.perf_counter() - began)
                    assert shared.counter().value == ADDERS * ADDITIONS
        return found

    return trio.run(main)


def adders_locked(count: int) -> list[float]:
    """The same with the kernel's lock, where the processor's instruction cannot be called."""
    from taskrun.worker import atomics

    atomics.way = lambda: atomics.LOCKED
    return adders(min(count, 1))


def trio_parallel(count: int) -> list[float]:
    import trio
    import trio_parallel as pool

    async def main() -> list[float]:
        source = np.ones(NUMBERS)
        found = []
        for _ in range(count + 1):
            began = time.perf_counter()
            await pool.run_sync(total, source)
            found.append(time.perf_counter() - began)
        return found[1:]

    return trio.run(main)


def executor(count: int, kind: str) -> list[float]:
    source = np.ones(NUMBERS)
    if kind == "pebble":
        from pebble import ProcessPool

        pool = ProcessPool(max_workers=1)
        one = lambda: pool.schedule(total, args=[source]).result()  # noqa: E731 - three of a kind
        end = lambda: (pool.close(), pool.join())  # noqa: E731
    elif kind == "mpire":
        from mpire import WorkerPool

        pool = WorkerPool(1)
        one = lambda: pool.apply(total, (source,))  # noqa: E731
        end = lambda: (pool.stop_and_join(), pool.terminate())  # noqa: E731
    else:
        if kind == "loky":
            from loky import ProcessPoolExecutor
        else:
            from concurrent.futures import ProcessPoolExecutor
        pool = ProcessPoolExecutor(1)
        one = lambda: pool.submit(total, source).result()  # noqa: E731
        end = pool.shutdown
    try:
        return times(count, one)
    finally:
        end()


def shared_memory(count: int) -> list[float]:
    """By hand, as the standard library has it: a new segment for each array, and a name to the worker."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing.shared_memory import SharedMemory

    source = np.ones(NUMBERS)

    def one() -> None:
        memory = SharedMemory(create=True, size=source.nbytes)
        np.frombuffer(memory.buf, source.dtype)[:] = source
        pool.submit(total_of_memory, memory.name).result()
        memory.close()
        memory.unlink()

    with ProcessPoolExecutor(1) as pool:
        return times(count, one)


def total_of_memory(name: str) -> float:
    from multiprocessing.shared_memory import SharedMemory

    memory = SharedMemory(name=name)
    try:
        return float(np.frombuffer(memory.buf, float).sum())
    finally:
        memory.close()


CONTENDERS = {
    "memcpy": memcpy,
    "sum": add_up,
    "taskrun": taskrun,
    "taskrun, back": taskrun_back,
    "shared_memory": shared_memory,
    "concurrent.futures": lambda count: executor(count, "futures"),
    "trio_parallel": trio_parallel,
    "loky": lambda count: executor(count, "loky"),
    "pebble": lambda count: executor(count, "pebble"),
    "mpire": lambda count: executor(count, "mpire"),
}
COUNTERS = {"instruction": adders, "lock": adders_locked}

if __name__ == "__main__":
    import arrays  # what workers import, and not `__main__`

    found = (arrays.CONTENDERS | arrays.COUNTERS)[sys.argv[1]](int(sys.argv[2]))
    sys.stderr.write("\n" + json.dumps({"best": min(found), "median": statistics.median(found)}) + "\n")
