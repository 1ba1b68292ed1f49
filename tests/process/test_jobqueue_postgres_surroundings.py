"""A queue on a real server as others have set it up: roles, schemas, encodings, poolers, and addresses with mistakes."""

from __future__ import annotations

import pytest
from support.postgres_bench import PostgresBench
from support.postgres_server import server

from taskrun.jobqueue.values import NewJob, QueueRefused

SECRET = "hunter2"


@pytest.fixture
def bench(tmp_path):
    made = PostgresBench(str(tmp_path))
    yield made
    made.close()


def opened(url):
    from taskrun.jobqueue.postgres import PostgresQueue

    return PostgresQueue(url)


def executed(database, *statements):
    import psycopg

    with psycopg.connect(server().url(database), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_mistake_in_the_address_is_told_without_the_password(bench):
    queue = opened(f"{bench.url}&password={SECRET}&connect_timeout={SECRET}")
    with pytest.raises(QueueRefused, match="cannot be used: bad value for connect_timeout") as refused:
        queue.enqueue([NewJob(task="t")])
    queue.close()
    assert SECRET not in str(refused.value)


def test_a_database_whose_encoding_cannot_hold_every_text_is_refused_before_anything_is_made(bench):
    import psycopg

    executed("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    try:
        queue = opened(server().url("latin"))
        with pytest.raises(QueueRefused, match="has the encoding LATIN1"):
            queue.enqueue([NewJob(task="t")])
        queue.close()
        with psycopg.connect(server().url("latin")) as connection:
            assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
    finally:
        executed("postgres", "DROP DATABASE latin WITH (FORCE)")


def test_a_pooler_that_changes_the_connection_below_a_session_is_named(bench):
    queue = bench.queue()
    for _ in range(8):  # psycopg prepares what is often carried out
        queue.enqueue([NewJob(task="t")])
    with queue._database.reading() as connection:  # as on another connection: nothing of it is there
        connection.execute("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")

    with pytest.raises(QueueRefused, match="a pooler that gives each transaction another connection"):
        queue.enqueue([NewJob(task="t")])


@pytest.mark.parametrize(("options", "found"), [("", "on"), ("&options=-csynchronous_commit%3Doff", "off")])
def test_commits_wait_for_the_disk_unless_the_address_itself_says_otherwise(bench, options, found):
    executed("postgres", "DROP ROLE IF EXISTS hasty", "CREATE ROLE hasty LOGIN SUPERUSER")
    executed("postgres", "ALTER ROLE hasty SET synchronous_commit = off")
    queue = opened(bench.url.replace("tests@", "hasty@") + options)
    with queue._database.writing() as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == (found,)
    queue.close()
