"""Work for every CPU: Fibonacci numbers in one process, and on a pool. `python docs/examples/fib.py [N COUNT]`.

It computes the N-th number COUNT times, in the most wasteful way, and prints both times and their ratio. With N of 27 a
request takes some tens of milliseconds, and its way to a worker and back a tenth of one: with a small N the pool is the
slower one.
"""

import sys
from dataclasses import dataclass
from time import perf_counter

import trio

from taskrun.workers import Handlers, Request, open_pool


@dataclass(frozen=True)
class Fib(Request[int]):
    n: int


handlers = Handlers()


@handlers.on(Fib)
def fib(request: Fib) -> int:
    return compute(request.n)


def compute(n: int) -> int:
    return n if n < 2 else compute(n - 1) + compute(n - 2)


async def main(n: int, count: int) -> None:
    started = perf_counter()
    expected = [compute(n) for _ in range(count)]
    alone = perf_counter() - started
    print(f"one process: {alone:.2f} s")

    async with open_pool("fib:handlers") as pool:  # as many workers as there are CPUs for this process
        started = perf_counter()
        found = [done.result async for done in pool.map(Fib(n) for _ in range(count))]
        together = perf_counter() - started
    print(f"the pool: {together:.2f} s")
    print(f"{alone / together:.2f} times as fast, {'the same' if found == expected else 'other'} numbers")


if __name__ == "__main__":
    n, count = (int(given) for given in (sys.argv[1:] or ["27", "40"]))
    trio.run(main, n, count)
