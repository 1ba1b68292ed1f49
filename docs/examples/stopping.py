"""Three ways for a worker to stop: by a message, by being asked, by force. `python docs/examples/stopping.py`.

`close` takes nothing new. It gives what is in work the seconds of `finish`; then the handler is asked to stop, by
`taskrun.Cancelled`; what has not ended after `grace` is killed.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import sleep

import trio

import taskrun
from taskrun.workers import Handlers, Moved, Pool, PoolClosed, Request, open_worker


@dataclass(frozen=True)
class Work(Request[str]):
    seconds: float
    stubborn: bool = False


@contextmanager
def open_state() -> Iterator[None]:
    yield
    say("  the worker leaves its state")  # and would close its connections


handlers = Handlers(state=open_state)


@handlers.on(Work)
def work(request: Work, _state: None) -> str:
    taskrun.status("begun")
    try:
        sleep(request.seconds)
    except taskrun.Cancelled:
        say("  the handler is asked to stop")
        while request.stubborn:
            with suppress(taskrun.Cancelled):
                sleep(60)
        raise
    return "done"


def say(text: str) -> None:
    print(f"{text}\n", end="", flush=True)  # at once: the worker and the program write to the same stdout


async def begin(pool: Pool, request: Work, nursery: trio.Nursery) -> None:
    """Sends a request, and returns when its handler has begun."""
    begun = trio.Event()

    def heard(_moved: Moved) -> None:
        begun.set()

    async def send() -> None:
        try:
            say(f"  result: {await pool.send(request, on_progress=heard)}")
        except PoolClosed as closed:
            say(f"  no result: {closed}")

    nursery.start_soon(send)
    await begun.wait()


async def main() -> None:
    say("by a message: what is in work is finished")
    async with trio.open_nursery() as nursery, open_worker("stopping:handlers") as worker:
        await begin(worker, Work(0.2), nursery)
        await worker.close()

    say("by being asked, after 0.1 s")
    async with trio.open_nursery() as nursery, open_worker("stopping:handlers") as worker:
        await begin(worker, Work(60), nursery)
        await worker.close(finish=0.1)

    say("by force, since it does not obey within 0.3 s")
    async with trio.open_nursery() as nursery, open_worker("stopping:handlers", grace=0.3) as worker:
        await begin(worker, Work(60, stubborn=True), nursery)
        await worker.close(finish=0.1)
    say("all are gone")


if __name__ == "__main__":
    trio.run(main)
