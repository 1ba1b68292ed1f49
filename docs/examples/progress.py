"""A long request says every 100 items how far it is, and who sent it shows that.

`python docs/examples/progress.py [ITEMS]`. What a handler says goes to whoever sent this request, and to nobody else.
It may be said in inner loops: about 20 a second are sent, and the last of a request always is.
"""

import sys
from dataclasses import dataclass
from time import sleep

import trio

import taskrun
from taskrun.workers import Handlers, Moved, Request, open_worker


@dataclass(frozen=True)
class Sum(Request[int]):
    items: list[int]


handlers = Handlers()


@handlers.on(Sum)
def add_up(request: Sum) -> int:
    total = 0
    for number, item in enumerate(request.items, 1):
        sleep(0.0005)  # stands for work
        total += item
        if number % 100 == 0 or number == len(request.items):
            taskrun.progress(number, len(request.items), f"{total} so far")
    return total


def show(moved: Moved) -> None:
    done, total = moved.done or 0, moved.total or 1
    print(f"[{'#' * round(20 * done / total):20}] {done:g} of {total:g}, {moved.message}")


async def main(count: int) -> None:
    async with open_worker("progress:handlers") as worker:
        total = await worker.send(Sum(list(range(count))), on_progress=show)
        print(f"in all {total}")


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
