"""Programs that use a queue and are killed, stopped or raced by tests: ``python queue_program.py MODE PATH ...``.

Each line that they write says what the queue has acknowledged.
"""

from __future__ import annotations

import fcntl
import os
import random
import signal
import sys
import time
import uuid
from functools import partial

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from support.queues import SqliteWorker

from taskrun.jobqueue import sqlite_claims
from taskrun.jobqueue.sqlite import SqliteQueue
from taskrun.jobqueue.sqlite_store import WorkerStore
from taskrun.jobqueue.values import Allowance, Cost, Done, NewJob, QueueBusy


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def enqueue(path: str) -> None:
    """Stores jobs, one or several at a time, until it is killed."""
    queue, chance = SqliteQueue(path), random.Random(os.getpid())
    while True:
        for stored in queue.enqueue([NewJob(task="t", args={"x": uuid.uuid4().hex})] * chance.randint(1, 3)):
            say("stored", stored.id)


def work(path: str, *, until_empty: bool = False) -> None:
    """Takes and settles jobs, until it is killed, or has found nothing."""
    worker = SqliteWorker(SqliteQueue(path))
    while True:
        try:
            claims = worker.take(random.randint(1, 4))
            for claim in claims:
                say("took", claim.id, claim.attempt)
                if not worker.settle(claim.id, Done()):
                    say("fenced", claim.id)
                say("done", claim.id)
            if not claims:
                if until_empty:
                    worker.close()
                    return
                worker.look_after_others()
                time.sleep(0.001)
        except QueueBusy:
            continue


def limited(path: str) -> None:
    """Works until nothing is left, under a limit of two; says "over" if more than two jobs ran at once anywhere."""
    cost = Cost(limits={"two": 1})
    worker = SqliteWorker(SqliteQueue(path), allowance=Allowance(slots=4, tasks={"t": cost}, limits={"two": 2}))
    gates = [os.open(f"{path}.gate{n}", os.O_RDWR | os.O_CREAT) for n in range(2)]
    while True:
        try:
            claims = worker.take(4)
            if not claims and worker.store.is_drained():
                worker.close()
                return
            for claim in claims:
                gate = next(filter(locked, gates), None)
                say("took" if gate is not None else "over", claim.id, claim.attempt)
            time.sleep(0.001)  # in which others may do wrong
            for gate in gates:
                fcntl.flock(gate, fcntl.LOCK_UN)  # before it is settled: then another may take one
            for claim in claims:
                worker.settle(claim.id, Done())
        except QueueBusy:
            continue


def locked(gate: int) -> bool:
    try:
        fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def first(path: str) -> None:
    """Stores one job."""
    queue = SqliteQueue(path)
    say("stored", queue.enqueue([NewJob(task="t")])[0].id)
    queue.close()


def race(path: str, count: str, what: str = "work") -> None:
    """That many processes work until nothing is left, or store a job, all beginning at the same moment."""
    gate, opened = os.pipe()
    for _ in range(int(count)):
        if not os.fork():
            os.close(opened)
            os.read(gate, 1)
            {"work": partial(work, until_empty=True), "limited": limited, "first": first}[what](path)
            os._exit(0)
    os.close(opened)
    while True:
        try:
            _pid, status = os.wait()
        except ChildProcessError:
            break
        assert not status, status


def serve(path: str, *steps: str) -> None:
    """Serves until nothing is left. ``die-STEP`` kills it there; ``hold`` reads stdin in the job, ``child`` forks in it."""
    import trio

    if "die-before-commit" in steps:
        settle = sqlite_claims.Clerk.settle

        def settle_and_die(self, database, settlements, now):
            result = settle(self, database, settlements, now)
            if settlements:
                die()
            return result

        sqlite_claims.Clerk.settle = settle_and_die
    if "die-after-commit" in steps or "die-after-claim" in steps:
        turn = WorkerStore.turn

        def turn_and_die(self, settlements, *args, **keys):
            result = turn(self, settlements, *args, **keys)
            if settlements or ("die-after-claim" in steps and result.claims):
                die()
            return result

        WorkerStore.turn = turn_and_die

    async def handle(job, lease):
        say("took", job.id, job.attempt)
        if "die-in-job" in steps:
            die()
        if "child" in steps and not os.fork():
            os.setsid()
            os.read(0, 1)
            os._exit(0)  # it closes nothing: the database's connection is not its own
        if "hold" in steps:
            await trio.to_thread.run_sync(os.read, 0, 1)
        if "die-after-job" in steps:
            die()
        return Done()

    queue = SqliteQueue(path, trouble=lambda message: say("trouble", message))
    allowance = Allowance(slots=1, tasks={"t": Cost(limits={"two": 2})}, limits={"two": 2})
    trio.run(lambda: queue.serve(handle, allowance=allowance, stop=trio.Event(), drain=True))
    queue.close()


if __name__ == "__main__":
    {"enqueue": enqueue, "work": work, "race": race, "serve": serve}[sys.argv[1]](*sys.argv[2:])
