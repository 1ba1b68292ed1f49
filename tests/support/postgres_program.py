"""Programs that use a queue on a server and are killed, stopped or raced: ``python postgres_program.py MODE URL ...``.

Each line that they write says what the queue has acknowledged.
"""

from __future__ import annotations

import os
import signal
import sys
import uuid

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import trio

from taskrun.jobqueue.postgres import PostgresQueue
from taskrun.jobqueue.values import Allowance, Done, NewJob


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def enqueue(url: str) -> None:
    """Stores jobs until it is killed."""
    queue = PostgresQueue(url)
    while True:
        for stored in queue.enqueue([NewJob(task="t", args={"x": uuid.uuid4().hex})] * 2):
            say("stored", stored.id)


def first(url: str) -> None:
    """Stores one job when it is told to."""
    queue = PostgresQueue(url)
    say("waits")
    os.read(0, 1)
    say("stored", queue.enqueue([NewJob(task="t")])[0].id)
    queue.close()


def serve(url: str, limit: str, *steps: str) -> None:
    """Serves until nothing is left. ``die`` kills it in a job, ``hold`` reads stdin in it, whatever anybody says if it is
    ``stubborn``; ``stay`` serves on.
    """
    queue = PostgresQueue(url, limit=float(limit), trouble=lambda message: say("trouble", message))

    async def handle(job, _lease):
        say("took", job.id, job.attempt)
        if "die" in steps:
            os.kill(os.getpid(), signal.SIGKILL)
        if "hold" in steps:
            try:
                with trio.CancelScope(shield="stubborn" in steps):
                    await trio.to_thread.run_sync(os.read, 0, 1, abandon_on_cancel=True)
            except trio.Cancelled:
                say("stopped", job.id)
                raise
        say("did", job.id)
        return Done()

    async def main():
        await queue.serve(handle, allowance=Allowance(slots=2), stop=trio.Event(), drain="stay" not in steps)

    trio.run(main)
    queue.close()


if __name__ == "__main__":
    signal.alarm(60)  # who waits for a line of it gets its end at least
    {"enqueue": enqueue, "first": first, "serve": serve}[sys.argv[1]](*sys.argv[2:])
