"""What each contender of `jobqueue.py` does: ``python queueing.py NAME COUNT SECONDS`` prints its figures as JSON."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import sqlite3
import sys
import tempfile
import time
from functools import partial

BATCH = 50
TRIPS = 100  # jobs whose latency is measured


def rate(count, work):
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


# --- the floor: two statements of SQLite, and nothing that makes a queue of them ---------------------------------------


def bare(path, *, full):
    database = sqlite3.connect(path, isolation_level=None, timeout=10)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
    database.execute("CREATE TABLE IF NOT EXISTS job (id INTEGER PRIMARY KEY, args BLOB, state TEXT)")
    database.execute("CREATE INDEX IF NOT EXISTS ready ON job (id) WHERE state = 'ready'")
    return database


def floor(path, count, _seconds):
    database = bare(path, full=True)

    def put(rows):
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT INTO job (args, state) VALUES (?, 'ready')", [(b"{}",)] * rows)
        database.execute("COMMIT")

    def repeat(rows):
        for _ in range(count // rows):
            put(rows)

    found = {"enqueue": rate(count, partial(repeat, 1)), "enqueue-50": rate(count, partial(repeat, BATCH))}
    database.close()
    database = bare(path, full=False)

    def take_and_settle():
        for _ in range(count):
            database.execute("BEGIN IMMEDIATE")
            (job,) = database.execute("SELECT id FROM job WHERE state = 'ready' ORDER BY id LIMIT 1").fetchone()
            database.execute("UPDATE job SET state = 'running' WHERE id = ?", (job,))
            database.execute("COMMIT")
            database.execute("BEGIN IMMEDIATE")
            database.execute("UPDATE job SET state = 'done' WHERE id = ?", (job,))
            database.execute("COMMIT")

    found["settle"] = rate(count, take_and_settle)
    database.close()
    return found


# --- taskrun ------------------------------------------------------------------------------------------------------------


def taskrun(path, count, seconds):
    import trio

    from taskrun.jobqueue.sqlite import SqliteQueue
    from taskrun.jobqueue.values import Allowance, Done, NewJob

    job = NewJob(task="t")
    queue = SqliteQueue(path)

    def repeat(rows):
        for _ in range(count // rows):
            queue.enqueue([job] * rows)

    async def handle(_job, _lease):
        return Done()

    def serve(slots):
        trio.run(lambda: queue.serve(handle, allowance=Allowance(slots=slots), stop=trio.Event(), drain=True))

    found = {"enqueue": rate(count, partial(repeat, 1)), "enqueue-50": rate(count, partial(repeat, BATCH))}
    # Half of them, so that both find as many as the floor does.
    found["settle"] = rate(2 * count, partial(serve, 1))
    queue.enqueue([job] * count)
    found["settle-8"] = rate(count, partial(serve, 8))
    queue.close()
    return found | idle_and_latency(path, seconds)


def idle_and_latency(path, seconds):
    """Of a worker in another process."""
    from taskrun.jobqueue.sqlite import SqliteQueue
    from taskrun.jobqueue.values import NewJob

    heard, tell = os.pipe()
    worker = os.fork()
    if not worker:
        serve_and_tell(path, tell)
    os.close(tell)
    queue = SqliteQueue(path)
    waits = []
    for _ in range(TRIPS):
        queue.enqueue([NewJob(task="t")])
        committed = time.monotonic()
        select.select([heard], [], [], 10)
        waits.append(float(os.read(heard, 99).decode().split()[0]) - committed)
        time.sleep(0.02)
    before = cpu_of(worker)
    time.sleep(seconds)
    idle = (cpu_of(worker) - before) / seconds
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    os.close(heard)
    queue.close()
    waits.sort()
    return {"latency": waits[TRIPS // 2], "latency-95": waits[TRIPS * 95 // 100], "idle": idle}


def serve_and_tell(path, tell):
    import trio

    from taskrun.jobqueue.sqlite import SqliteQueue
    from taskrun.jobqueue.values import Allowance, Done

    async def handle(_job, _lease):
        os.write(tell, f"{time.monotonic()} ".encode())
        return Done()

    trio.run(lambda: SqliteQueue(path).serve(handle, allowance=Allowance(slots=1), stop=trio.Event()))


def cpu_of(pid):
    """Seconds, exact to the nanosecond and not to the tick."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total / 1e9


# --- others, where they are installed -------------------------------------------------------------------------------------


def huey(path, count, _seconds):
    from huey import SqliteHuey

    queue = SqliteHuey(filename=path)

    @queue.task()
    def nothing():
        return None

    def put():
        for _ in range(count):
            nothing()

    def work():
        for _ in range(count):
            queue.execute(queue.dequeue())

    return {"enqueue": rate(count, put), "settle": rate(count, work)}


def litequeue(path, count, _seconds):
    from litequeue import LiteQueue

    queue = LiteQueue(path)

    def put():
        for _ in range(count):
            queue.put("{}")

    def work():
        for _ in range(count):
            message = queue.pop()
            queue.done(message.message_id)

    return {"enqueue": rate(count, put), "settle": rate(count, work)}


def persistqueue(path, count, _seconds):
    import persistqueue as library

    queue = library.SQLiteAckQueue(path + "-folder", auto_commit=True)

    def put():
        for _ in range(count):
            queue.put({})

    def work():
        for _ in range(count):
            queue.ack(queue.get(block=False))

    return {"enqueue": rate(count, put), "settle": rate(count, work)}


CONTENDERS = {
    "floor": floor,
    "taskrun": taskrun,
    "huey": huey,
    "litequeue": litequeue,
    "persistqueue": persistqueue,
}


def main():
    name, count, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    with tempfile.TemporaryDirectory(prefix="taskrun-bench-") as folder:
        found = CONTENDERS[name](os.path.join(folder, "queue.db"), count, seconds)
    sys.stderr.write(json.dumps(found | {"rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}) + "\n")


if __name__ == "__main__":
    main()
