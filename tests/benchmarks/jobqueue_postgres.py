"""The queue on a PostgreSQL server beside plain procrastinate: stored and settled a second, and from commit to claim.

It starts a server of its own, which waits for the disk as servers do. The floor is bare psycopg: the same claims by
SKIP LOCKED, two transactions for each job, on a table of three columns.

python tests/benchmarks/jobqueue_postgres.py [--quick] [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import time
from functools import partial

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

from queueing import cpu_of, rate  # noqa: E402 - found by the path above

BATCH = 50
RATES = {
    "enqueue": "stored, one a transaction",
    "enqueue-50": f"stored, {BATCH} a transaction",
    "settle": "taken and settled, one at a time",
    "settle-8": "taken and settled, 8 at a time",
}
TIMES = {
    "latency": "commit to claim, median, ms",
    "latency-95": "commit to claim, 95 %, ms",
    "idle": "an idle worker, % of a CPU",
}


def floor(url, count, _trips, _seconds):
    import psycopg

    database = psycopg.connect(url, autocommit=True)
    database.execute("CREATE TABLE job (id bigserial PRIMARY KEY, args jsonb, state text)")
    database.execute("CREATE INDEX ready ON job (id) WHERE state = 'ready'")

    def put(rows):
        for _ in range(count // rows):
            with database.transaction(), database.cursor() as cursor:
                cursor.executemany("INSERT INTO job (args, state) VALUES ('{}', 'ready')", [()] * rows)

    def take_and_settle():
        for _ in range(count):
            (job,) = database.execute(
                "UPDATE job SET state = 'running' WHERE id = (SELECT id FROM job WHERE state = 'ready' "
                "ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id"
            ).fetchone()
            database.execute("UPDATE job SET state = 'done' WHERE id = %s", (job,))

    found = {"enqueue": rate(count, partial(put, 1)), "enqueue-50": rate(count, partial(put, BATCH))}
    found["settle"] = rate(count, take_and_settle)
    database.close()
    return found


def taskrun(url, count, trips, seconds):
    import trio

    from taskrun.jobqueue.postgres import PostgresQueue
    from taskrun.jobqueue.values import Allowance, Done, NewJob

    queue = PostgresQueue(url)
    queue.admin().stats()  # makes the tables

    def put(rows):
        for _ in range(count // rows):
            queue.enqueue([NewJob(task="t")] * rows)

    async def handle(_job, _lease):
        return Done()

    def serve(slots):
        trio.run(lambda: queue.serve(handle, allowance=Allowance(slots=slots), stop=trio.Event(), drain=True))

    found = {"enqueue": rate(count, partial(put, 1)), "enqueue-50": rate(count, partial(put, BATCH))}
    found["settle"] = rate(2 * count, partial(serve, 1))
    put(BATCH)
    found["settle-8"] = rate(count, partial(serve, 8))
    found |= watched("taskrun", url, lambda: queue.enqueue([NewJob(task="t")]), trips, seconds)
    queue.close()
    return found


def taskrun_worker(url):
    import trio

    from taskrun.jobqueue.postgres import PostgresQueue
    from taskrun.jobqueue.values import Allowance, Done

    async def handle(_job, _lease):
        os.write(1, f"{time.monotonic()}\n".encode())
        return Done()

    trio.run(lambda: PostgresQueue(url).serve(handle, allowance=Allowance(slots=1), stop=trio.Event()))


def plain(url):
    """An application of procrastinate's own, as its documentation has it."""
    import procrastinate

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))

    @app.task(name="t")
    async def task():
        os.write(1, f"{time.monotonic()}\n".encode())

    @app.task(name="nothing")
    async def nothing():
        pass

    return app, task, nothing


def procrastinate(url, count, trips, seconds):
    import asyncio

    import procrastinate as library

    app, _task, _nothing = plain(url)
    with library.App(connector=library.SyncPsycopgConnector(conninfo=url)).open() as storing:
        storing.schema_manager.apply_schema()
        nothing = storing.configure_task("nothing")

        def put(rows):
            for _ in range(count // rows):
                nothing.defer() if rows == 1 else nothing.batch_defer(*[{}] * rows)

        def serve(slots):
            async def main():
                async with app.open_async():
                    await app.run_worker_async(concurrency=slots, wait=False, install_signal_handlers=False)

            asyncio.run(main())

        found = {"enqueue": rate(count, partial(put, 1)), "enqueue-50": rate(count, partial(put, BATCH))}
        found["settle"] = rate(2 * count, partial(serve, 1))
        put(BATCH)
        found["settle-8"] = rate(count, partial(serve, 8))
        return found | watched("procrastinate", url, storing.configure_task("t").defer, trips, seconds)


def procrastinate_worker(url):
    import asyncio

    app, _task, _nothing = plain(url)

    async def main():
        async with app.open_async():
            await app.run_worker_async()

    asyncio.run(main())


def watched(name, url, store, trips, seconds):
    """How soon an idle worker in another process begins a job, and what it costs while there is none."""
    worker = subprocess.Popen([sys.executable, __file__, "--worker", name, url], stdout=subprocess.PIPE)
    store()
    worker.stdout.readline()
    waits = []
    for _ in range(trips):
        time.sleep(0.02)
        store()
        committed = time.monotonic()
        assert select.select([worker.stdout], [], [], 30)[0]
        waits.append(float(worker.stdout.readline()) - committed)
    before = cpu_of(worker.pid)
    time.sleep(seconds)
    idle = (cpu_of(worker.pid) - before) / seconds
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    waits.sort()
    return {"latency": waits[trips // 2] * 1e3, "latency-95": waits[trips * 95 // 100] * 1e3, "idle": idle * 100}


CONTENDERS = {"floor": floor, "procrastinate": procrastinate, "taskrun": taskrun}
WORKERS = {"taskrun": taskrun_worker, "procrastinate": procrastinate_worker}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        WORKERS[given.worker[0]](given.worker[1])
        return
    from support.postgres_server import Server, missing, programs

    if missing():
        sys.exit(missing())
    count, trips, seconds = (100, 20, 1.0) if given.quick else (1000, 100, 5.0)
    server = Server(programs(), settings="max_connections=50")
    best = {name: {} for name in CONTENDERS}
    for turn in range(given.rounds):
        for name, contend in CONTENDERS.items():
            database = f"{name}{turn}"
            made = ["createdb", "-h", server.folder, "-U", "tests", database]
            subprocess.run(made, check=True)
            for key, value in contend(server.url(database), count, trips, seconds).items():
                better = max if key in RATES else min
                best[name][key] = better(value, best[name].get(key, value))
            sys.stderr.write(json.dumps({name: best[name]}) + "\n")
    print("\nJobs a second, best of the rounds; in brackets of procrastinate\n")
    print(f"| {'':<34} |" + "".join(f" {name:>18} |" for name in CONTENDERS))
    print(f"| {'-' * 34} |" + f" {'-' * 17}: |" * len(CONTENDERS))
    for key, label in (RATES | TIMES).items():
        print(f"| {label:<34} |" + "".join(f" {cell(best, name, key):>18} |" for name in CONTENDERS))


def cell(best, name, key):
    value = best[name].get(key)
    if value is None:
        return ""
    other = best["procrastinate"][key]
    return f"{value:,.0f} ({value / other:.2f})" if key in RATES else f"{value:.2f}"


if __name__ == "__main__":
    main()
