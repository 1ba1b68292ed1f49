"""Addresses of queues on servers: what is refused, and that no password is ever in a message."""

from __future__ import annotations

import sys

import pytest

from taskrun.jobqueue.opening import open_queue, shown
from taskrun.model import UsageError

SECRET = "hunter2"


@pytest.fixture
def libraries():
    pytest.importorskip("procrastinate")
    pytest.importorskip("psycopg")


@pytest.mark.parametrize("missing", ["procrastinate", "psycopg"])
def test_without_the_extra_it_is_said_what_to_install(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(UsageError, match=r"pip install 'taskrun-cli\[postgres\]'"):
        open_queue("postgresql://localhost/jobs")


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:a/{SECRET}@host/db",
        f"postgresql://me:a@{SECRET}@host/db",
        f"postgresql://me:a%{SECRET}@host/db",
        f"postgresql://me:{SECRET}@host:port/db",
        f"postgresql://me:{SECRET}@host/db?nonsense",
        f"postgresql://me:{SECRET}@host/db?no_such_setting=1",
        f"postgresql://host/db?password=a/{SECRET}@b&x",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_its_password(url, libraries):
    with pytest.raises(UsageError, match="percent-encoded") as refused:
        open_queue(url)

    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None
    assert SECRET not in shown(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"postgresql://me:{SECRET}@host:5433/db", "postgresql://me@host:5433/db"),
        (f"postgresql://host/db?user=me&password={SECRET}", "postgresql://me@host/db"),
        (f"postgres://me:{SECRET}@/db?host=/run/pg&sslpassword={SECRET}", "postgresql://me@/db?host=/run/pg"),
        (f"postgresql://me:a?{SECRET}@host/db", "postgresql://me@host/db"),
        ("postgresql:///db", "postgresql:///db"),
    ],
)
def test_an_address_is_shown_without_what_is_secret(url, said, libraries):
    from taskrun.jobqueue.postgres_address import address_of

    assert address_of(url).shown == said
    assert SECRET not in shown(url)


def test_the_names_of_procrastinates_queues_fit_into_a_channel_of_the_server_and_differ(libraries):
    from taskrun.jobqueue.postgres_library import queue_of

    names = ["build", "x" * 32, "x" * 33, "x" * 500, "x" * 499 + "y", "ä" * 40, "a\nb", "résumé[size=4]"]
    queues = [queue_of(name) for name in names]

    assert queues[0] == "taskrun:build"
    assert len(set(queues)) == len(names)
    assert all(len(f"procrastinate_queue_v1#{queue}".encode()) <= 63 and queue.isprintable() for queue in queues)
