"""A queue on a real server: workers that are killed and stopped, a server that goes and comes, and applications."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter

import pytest
import trio
import trio.testing
from support import postgres_server
from support.postgres_bench import PostgresBench
from support.postgres_server import server
from support.queues import SetClock
from support.started import starting

from taskrun.jobqueue.carrying import Settlement
from taskrun.jobqueue.values import (
    Allowance,
    Dead,
    Done,
    Duplicate,
    JobState,
    NewJob,
    QueueRefused,
    QueueUnwritable,
    Retention,
    Retry,
)
from taskrun.model import ResourceError, UsageError

PROGRAM = postgres_server.__file__.replace("_server", "_program")  # to import it needs the extra
PATIENCE = 60.0  # seconds; only what hangs takes so long
LIMIT = 2.0  # seconds without a heartbeat
IS_THOROUGH = bool(os.environ.get("TORTURE_SECONDS"))
KILLS = 40 if IS_THOROUGH else 2
RACED = 4000 if IS_THOROUGH else 200
SECRET = "hunter2"


@pytest.fixture
def bench(tmp_path):
    made = PostgresBench(str(tmp_path))
    yield made
    made.close()


@pytest.fixture
def started():
    with starting(PROGRAM, stdin=subprocess.PIPE) as start:
        yield start


def said(process):
    """What it says until its end, by the first word."""
    found = {}
    for line in process.stdout:
        word, _, rest = line.strip().partition(" ")
        found.setdefault(word, []).append(rest)
    process.wait(PATIENCE)
    return found


def until(true, what):
    end = time.monotonic() + PATIENCE
    while not (answer := true()):
        assert time.monotonic() < end, what
        time.sleep(0.01)
    return answer


def work(queue, handle=None, **keys):
    """Serves until nothing is left."""

    async def nothing(_job, _lease):
        return Done()

    async def main():
        with trio.fail_after(PATIENCE):
            keys.setdefault("stop", trio.Event())
            await queue.serve(handle or nothing, allowance=Allowance(slots=2), drain=True, **keys)

    trio.run(main)


def states(queue, *jobs):
    return [str(queue.admin().show(job).state) for job in jobs]


def opened(url):
    from taskrun.jobqueue.postgres import PostgresQueue

    return PostgresQueue(url)


def executed(bench, *statements):
    import psycopg

    with psycopg.connect(bench.url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


# --- workers that end -------------------------------------------------------------------------------------------------


def test_a_job_that_kills_its_workers_is_offered_again_after_the_limit_and_dead_after_its_last_attempt(bench, started):
    queue = bench.queue()
    (job,) = queue.enqueue([NewJob(task="poison", max_attempts=2)])
    for attempt in (1, 2):
        assert said(started("serve", bench.url, LIMIT, "die", "stay"))["took"] == [f"{job.id} {attempt}"]
        assert queue.admin().show(job.id).state is JobState.RUNNING
        if attempt == 1:
            continue  # the next one finds it
    started("serve", bench.url, LIMIT, "stay")
    record = until(lambda: (r := queue.admin().show(job.id)).state is JobState.DEAD and r, "it is never given back")

    assert (record.attempt, record.error) == (2, "the worker ended during attempt 2 of 2")


def test_a_worker_that_was_stopped_finds_its_job_gone_and_what_it_says_counts_for_nothing(bench, started):
    queue = bench.queue()
    (job,) = queue.enqueue([NewJob(task="t")])
    zombie = started("serve", bench.url, LIMIT, "hold", "stubborn", "stay")
    assert zombie.stdout.readline() == f"took {job.id} 1\n"
    zombie.send_signal(signal.SIGSTOP)
    other = started("serve", bench.url, LIMIT, "hold", "stay")
    assert other.stdout.readline().startswith(f"trouble job {job.id} was a worker's that has ended")
    assert other.stdout.readline() == f"took {job.id} 2\n"

    zombie.stdin.write("x")  # its job is done in the moment in which it goes on
    zombie.stdin.flush()
    zombie.send_signal(signal.SIGCONT)
    lines = []
    while not any("how it ended here does not count" in line for line in lines):
        lines.append(zombie.stdout.readline())
        assert lines[-1], lines
    record = queue.admin().show(job.id)
    assert (record.state, record.attempt) == (JobState.RUNNING, 2)
    other.stdin.close()
    assert other.stdout.readline() == f"did {job.id}\n"
    until(lambda: queue.admin().show(job.id).state is JobState.DONE, "it is not settled")


def test_a_worker_stops_its_jobs_before_others_may_take_them(bench, started):
    queue = bench.queue()
    (job,) = queue.enqueue([NewJob(task="t")])
    zombie = started("serve", bench.url, LIMIT, "hold", "stay")
    assert zombie.stdout.readline() == f"took {job.id} 1\n"
    server().stop()
    try:
        lines = []
        while f"stopped {job.id}\n" not in lines:
            lines.append(zombie.stdout.readline())
            assert lines[-1], lines
    finally:
        server().start()
    while (
        line := zombie.stdout.readline()
    ) != f"took {job.id} 1\n":  # it was not its fault: the attempt does not count
        assert line, "it is not given back"


@pytest.mark.slow
def test_kills_amid_commits_lose_nothing_that_was_acknowledged_and_settle_nothing_twice(bench, started):
    stored, did = set(), Counter()
    for _ in range(KILLS):
        both = [started("enqueue", bench.url), started("serve", bench.url, 30, "stay")]
        lines = [process.stdout.readline() for process in both]  # both are at it
        time.sleep(0.1)  # any moment will do
        for process in both:
            process.send_signal(signal.SIGKILL)
        stored.update(map(int, [lines[0].split()[1], *said(both[0]).get("stored", ())]))
        did.update(map(int, said(both[1]).get("did", ())))
    there = {record.id: record for record in bench.queue().admin().find(limit=10**6)}

    assert stored
    assert stored <= set(there)
    assert set(did.values()) == {1}
    running = [job for job in did if there[job].state is JobState.RUNNING]
    assert len(running) <= 2 * KILLS  # those whose end was not recorded yet
    assert {str(there[job].state) for job in did if job not in running} == {"done"}


@pytest.mark.slow
def test_workers_that_race_take_each_job_once(bench, started):
    ids = [stored.id for stored in bench.queue().enqueue([NewJob(task="t")] * RACED)]
    took = [
        word
        for process in [started("serve", bench.url, 30) for _ in range(3)]
        for word in said(process).get("took", ())
    ]

    assert sorted(took) == sorted(f"{job} 1" for job in ids)
    assert bench.queue().admin().stats().counts[JobState.DONE] == RACED


# --- a server that goes and comes -------------------------------------------------------------------------------------


def test_a_worker_goes_on_when_the_server_was_restarted_and_settles_what_ran_meanwhile(bench):
    queue, seen = bench.queue(), []
    queue.enqueue([NewJob(task="during")])

    async def handle(job, _lease):
        seen.append(job.task)
        if job.task == "during":
            await trio.to_thread.run_sync(server().stop)
            await trio.to_thread.run_sync(server().start)
            queue.enqueue([NewJob(task="after")])
        return Done()

    work(queue, handle)
    assert seen == ["during", "after"], bench.troubles
    assert {str(record.state) for record in queue.admin().find()} == {"done"}
    assert any("cannot be reached" in trouble for trouble in bench.troubles)


def test_a_worker_that_is_to_end_does_not_wait_for_a_server_that_hangs(bench, monkeypatch):
    import psycopg

    monkeypatch.setattr("taskrun.jobqueue.serving.LAST_WORDS", 0.5)
    queue, stopped = bench.queue(), []
    (job,) = queue.enqueue([NewJob(task="t")])
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

    async def main():
        async def handle(_job, _lease):
            queue.close()
            with psycopg.connect(bench.url) as connection:
                stopped.extend(pid for (pid,) in connection.execute(query))
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            await trio.sleep(1.5)  # in which the worker looks, and gets no answer
            nursery.cancel_scope.cancel()
            await trio.sleep_forever()

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                await queue.serve(handle, allowance=Allowance(slots=2), stop=trio.Event())

    try:
        trio.run(main)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert stopped
    assert states(queue, job.id) == ["ready"]


@pytest.mark.parametrize("address", [f"me:{SECRET}@/jobs?host=/nowhere", f"me:{SECRET}@127.0.0.1:1/jobs"])
def test_a_server_that_is_not_there_is_said_without_the_password(address):
    pytest.importorskip("procrastinate")
    from taskrun.jobqueue.opening import open_queue

    queue = open_queue(f"postgresql://{address}")
    for ask in (lambda: queue.enqueue([NewJob(task="t")]), lambda: queue.admin().stats(), lambda: work(queue)):
        with pytest.raises(ResourceError, match=r"the queue postgresql://me@.*cannot be reached") as refused:
            ask()
        assert SECRET not in str(refused.value)


def test_a_wrong_password_is_said_and_not_shown(bench):
    executed(bench, f"DROP ROLE IF EXISTS guarded; CREATE ROLE guarded LOGIN PASSWORD '{SECRET}'")
    url = bench.url.replace("tests@", "guarded:{}@")
    with pytest.raises(QueueUnwritable, match="password authentication failed") as refused:
        opened(url.format(SECRET[::-1])).enqueue([NewJob(task="t")])
    assert SECRET[::-1] not in str(refused.value)
    with pytest.raises(QueueUnwritable, match="cannot be written: permission denied"):
        opened(url.format(SECRET)).enqueue([NewJob(task="t")])


def test_what_was_committed_though_it_seemed_to_fail_is_neither_lost_nor_done_twice(bench, monkeypatch):
    queue, worker = bench.queue(), bench.worker()
    settled, taken = (stored.id for stored in queue.enqueue([NewJob(task="t")] * 2))
    (claim,) = worker.take(1)

    def lost(*_args):
        raise QueueUnwritable("the connection is lost in this moment")

    def after_the_commit(self, kind, error, where):
        answer = leave(self, kind, error, where)
        if kind is None:
            lost()
        return answer

    import psycopg

    leave = psycopg.Transaction.__exit__
    monkeypatch.setattr(psycopg.Transaction, "__exit__", after_the_commit)
    with pytest.raises(QueueUnwritable):
        worker.store.turn([Settlement(id=settled, number=claim.number, outcome=Done())], [claim], take=1)
    monkeypatch.undo()
    assert states(queue, settled, taken) == ["done", "running"]

    turn = worker.store.turn([Settlement(id=settled, number=claim.number, outcome=Done())], [claim], take=1)
    assert turn.fenced == []
    assert [(claim.id, claim.attempt) for claim in turn.claims] == [(taken, 1)]
    assert states(queue, settled, taken) == ["done", "running"]


# --- tables -----------------------------------------------------------------------------------------------------------


def test_processes_that_make_the_same_tables_in_the_same_moment_all_store_their_job(bench, started):
    executed(bench, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    processes = [started("first", bench.url) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "waits\n"
    for process in processes:
        process.stdin.write("x")
        process.stdin.flush()

    assert sorted(int(said(process)["stored"][0]) for process in processes) == [1, 2, 3, 4]


def test_tables_of_a_newer_version_or_of_another_procrastinate_are_refused_and_left_alone(bench):
    executed(bench, "UPDATE taskrun_queue SET version = 99")
    for ask in (lambda: bench.queue().enqueue([NewJob(task="t")]), lambda: work(bench.queue())):
        with pytest.raises(QueueRefused, match="has version 99, and this taskrun knows"):
            ask()
    executed(bench, "UPDATE taskrun_queue SET version = 1", "ALTER FUNCTION procrastinate_fetch_job_v2 RENAME TO other")
    with pytest.raises(QueueRefused, match=r"procrastinate_fetch_job_v2.* is missing"):
        bench.queue().enqueue([NewJob(task="t")])
    executed(bench, "ALTER FUNCTION other RENAME TO procrastinate_fetch_job_v2")


def test_an_application_s_own_procrastinate_and_its_jobs_are_left_alone(bench):
    import psycopg
    from procrastinate.schema import SchemaManager

    executed(bench, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public", SchemaManager.get_schema())
    theirs = "INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('default', 'theirs')"
    executed(bench, theirs, "CREATE SCHEMA jobs")
    apart = opened(bench.url + "&options=-csearch_path%3Djobs")
    for queue in (apart, bench.queue()):  # in a schema of its own, and in the application's
        (job,) = queue.enqueue([NewJob(task="t")])
        work(queue)
        assert queue.admin().show(job.id).state is JobState.DONE
    apart.close()

    with psycopg.connect(bench.url) as connection:
        found = connection.execute("SELECT task_name, status::text FROM procrastinate_jobs ORDER BY id").fetchall()
        assert found == [("theirs", "todo"), ("taskrun:job", "succeeded")]
        assert connection.execute("SELECT count(*) FROM jobs.procrastinate_jobs").fetchone() == (1,)


def test_a_schema_that_is_not_there_and_tables_that_are_others_are_said(bench):
    queue = opened(bench.url + "&options=-csearch_path%3Dnowhere")
    with pytest.raises(QueueUnwritable, match="cannot be written: no schema has been selected"):
        queue.enqueue([NewJob(task="t")])
    executed(bench, "DROP TABLE taskrun_queue")
    with pytest.raises(QueueRefused, match=r'not as this taskrun knows them: relation "taskrun_job" already exists'):
        bench.queue().enqueue([NewJob(task="t")])
    executed(bench, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    bench.queue().admin().stats()


def test_what_another_program_does_to_procrastinates_rows_neither_stops_workers_nor_is_hidden(bench):
    queue, worker = bench.queue(), bench.worker()
    taken, deleted, revived, well = (stored.id for stored in queue.enqueue([NewJob(task=task) for task in "abcd"]))
    queue.admin().cancel(revived)
    executed(
        bench,
        f"UPDATE procrastinate_jobs SET status = 'failed' WHERE id = {taken}",
        f"DELETE FROM procrastinate_jobs WHERE id = {deleted}",
        f"UPDATE procrastinate_jobs SET status = 'todo' WHERE id = {revived}",
        "DELETE FROM procrastinate_workers",  # as a worker of its own does with those that it believes dead
    )
    worker.attendance.beat()

    assert [claim.id for claim in worker.take(9)] == [well]
    assert worker.settle(well, Done())
    records = {record.id: record for record in queue.admin().find()}
    assert records[taken].error == "another program has taken it from procrastinate's tables, or deleted it there"
    assert [str(records[job].state) for job in (taken, deleted, revived, well)] == ["dead", "dead", "cancelled", "done"]


def test_a_running_job_is_settled_whatever_another_program_has_made_of_procrastinates_row(bench):
    queue, worker, other = bench.queue(), bench.worker(), bench.worker()
    failed, deleted, offered = (stored.id for stored in queue.enqueue([NewJob(task=task) for task in "abc"]))
    (waits,) = queue.enqueue([NewJob(task="d", after=offered)])
    worker.take(3)
    executed(
        bench,
        f"UPDATE procrastinate_jobs SET status = 'failed' WHERE id = {failed}",
        f"DELETE FROM procrastinate_jobs WHERE id = {deleted}",
        # As those do who retry all that seems stalled, and who run what is scheduled at once.
        f"UPDATE procrastinate_jobs SET status = 'todo', scheduled_at = NULL WHERE id IN ({offered}, {waits.id})",
    )

    assert other.take(9) == []
    assert [worker.settle(job, Retry(error="x", delay=0)) for job in (failed, deleted)] == [True, True]
    assert worker.settle(offered, Done())
    assert [claim.id for claim in other.take(9)] == [failed, waits.id]
    assert [str(record.state) for record in queue.admin().find()] == ["running", "done", "dead", "running"]


def test_what_may_not_be_taken_yet_comes_last_for_procrastinate_and_then_in_its_place(tmp_path):
    clock = SetClock()
    bench = PostgresBench(str(tmp_path), clock)
    try:
        queue, worker = bench.queue(), bench.worker()

        def asked():
            import psycopg

            with psycopg.connect(bench.url) as connection:
                query = "SELECT id, priority FROM procrastinate_jobs WHERE status = 'todo' ORDER BY priority DESC, id"
                return connection.execute(query).fetchall()

        first = queue.enqueue([NewJob(task="t", priority=1)])[0].id
        queue.enqueue([NewJob(task="t", priority=9, delay=60.0), NewJob(task="t", priority=5, after=first)])
        last = -(2**31)
        assert asked() == [(first, 1), (2, last), (3, last)]

        worker.take()
        assert worker.settle(first, Done())
        assert asked() == [(3, 5), (2, last)]
        worker.take()
        assert worker.settle(3, Retry(error="not yet", delay=30.0))
        assert asked() == [(2, last), (3, last)]

        clock.now += 100.0
        assert [claim.id for claim in (*worker.take(), *worker.take())] == [2, 3]
        assert worker.settle(3, Dead(error="never"))
        queue.admin().retry(3)
        assert asked() == [(3, 5)]
    finally:
        bench.close()


def test_only_who_was_seen_to_stand_still_without_a_gap_is_believed_dead(bench):
    queue, victim, worker = bench.queue(), bench.worker(), bench.worker()
    queue.enqueue([NewJob(task="t")])
    victim.take()
    for _ in range(3):  # it looks too seldom: it, or the server, was away, and perhaps the other beat then
        bench.ticks.now += 0.6 * victim.attendance.limit
        assert worker.store.chores() == []
    for _ in range(2):
        bench.ticks.now += 0.4 * victim.attendance.limit
        assert worker.store.chores() == []
    assert victim.attendance.left() < 0  # long since

    assert victim.attendance.beat()  # at last
    bench.ticks.now += 0.4 * victim.attendance.limit
    assert worker.store.chores() == []
    assert worker.look_after_others() == []
    victim.crash()
    assert worker.look_after_others() == [1]
    assert not victim.attendance.beat()  # it is another one from now on
    assert victim.take()[0].attempt == 2


# --- applications -----------------------------------------------------------------------------------------------------


@pytest.fixture
def application(bench):
    import psycopg

    with psycopg.connect(bench.url) as connection:
        yield connection


def test_jobs_are_stored_with_the_application_s_transaction_and_workers_woken_by_its_commit(
    bench, application, monkeypatch
):
    from psycopg.rows import dict_row

    bench.look_every(monkeypatch, 10 * PATIENCE)
    queue, seen = bench.queue(), []
    application.row_factory = dict_row  # as an application may like it
    queue.enqueue([NewJob(task="undone")], connection=application)
    application.rollback()

    async def handle(job, _lease):
        seen.append(job.task)
        stop.set()
        return Done()

    async def main():
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: queue.serve(handle, allowance=Allowance(slots=1), stop=stop))
                await trio.testing.wait_all_tasks_blocked(0.05)
                (first,) = queue.enqueue([NewJob(task="done", unique="k")], connection=application)
                again = queue.enqueue([NewJob(task="done", unique="k")], connection=application)
                assert again == [Duplicate(id=first.id)]
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert seen == []
                application.commit()

    stop = trio.Event()
    trio.run(main)
    assert seen == ["done"]
    assert application.row_factory is dict_row


def test_a_connection_with_which_jobs_cannot_be_stored_is_refused(bench, application, tmp_path):
    import psycopg

    queue, other = bench.queue(), PostgresBench(str(tmp_path))
    try:
        with psycopg.connect(other.url) as connection, pytest.raises(UsageError, match="not one to the queue"):
            queue.enqueue([NewJob(task="t")], connection=connection)
    finally:
        other.close()
    with pytest.raises(UsageError, match=r"a psycopg\.Connection is needed, not a str"):
        queue.enqueue([NewJob(task="t")], connection="mine")
    application.autocommit = True
    with pytest.raises(UsageError, match="commits each statement by itself"):
        queue.enqueue([NewJob(task="t")], connection=application)
    with application.transaction():
        queue.enqueue([NewJob(task="t")], connection=application)
    assert [record.task for record in queue.admin().find()] == ["t"]


def test_two_that_store_the_same_key_wait_for_each_other_and_the_second_gets_the_id_of_the_first(bench, application):
    queue = bench.queue()
    (first,) = queue.enqueue([NewJob(task="t", unique="k")], connection=application)
    answers = []

    async def second():
        stored = await trio.to_thread.run_sync(queue.enqueue, [NewJob(task="t", unique="k")])
        answers.extend(stored)

    async def main():
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(second)
                await trio.sleep(0.1)  # it waits, if it is as it should be
                assert answers == []
                application.commit()

    trio.run(main)
    assert answers == [Duplicate(id=first.id)]


def test_a_job_that_was_stored_while_the_one_before_it_was_being_settled_is_not_left_blocked(bench, application):
    queue, worker = bench.queue(), bench.worker()
    (first,) = queue.enqueue([NewJob(task="t")])
    worker.take()
    (second,) = queue.enqueue([NewJob(task="t", after=first.id)], connection=application)

    async def main():
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, worker.settle, first.id, Done())
                await trio.sleep(0.1)  # it waits, if it is as it should be
                application.commit()

    trio.run(main)
    assert queue.admin().show(second.id).state is JobState.READY


def test_a_fork_does_not_share_the_connection(bench):
    queue = bench.queue()
    queue.enqueue([NewJob(task="before")])
    child = os.fork()
    if not child:
        queue.enqueue([NewJob(task="child")])
        queue.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    queue.enqueue([NewJob(task="after")])

    assert [record.task for record in queue.admin().find()] == ["after", "child", "before"]


def test_what_was_forgotten_is_gone_from_both_tables(bench):
    import psycopg

    queue, worker = bench.queue(), bench.worker()
    done, dead = (stored.id for stored in queue.enqueue([NewJob(task="t")] * 2))
    worker.take(2)
    worker.settle(done, Done())
    worker.settle(dead, Dead(error="x"))

    assert queue.admin().prune(Retention(done=0, dead=0)) == 2
    with psycopg.connect(bench.url) as connection:
        for table in ("taskrun_job", "procrastinate_jobs", "procrastinate_events"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
