"""The same commands over a queue on a PostgreSQL server: nothing differs but where the jobs are."""

from __future__ import annotations

import json
import signal

import pytest
from support.postgres_bench import give_back, lent
from support.postgres_server import server
from support.real import WAIT_FOR_GO
from support.runs import wait_for_files, wait_until

TASKS = f"""
[vars]
name = {{ type = "str", default = "nobody" }}
[tasks.greet]
shell = 'echo "hello $NAME"'
env = {{ NAME = "{{{{ vars.name }}}}" }}
[tasks.slow]
shell = ": > slow.up; {WAIT_FOR_GO}"
[tasks.bad]
shell = "echo on fire >&2; exit 3"
"""


@pytest.fixture
def served(project):
    name = lent()
    project.tasks(TASKS)
    project.env["TASKRUN_QUEUE"] = server().url(name)
    yield project
    give_back(name)


def state(project, job: int) -> str:
    (shown,) = [each for each in listed(project) if each["id"] == job]
    return shown["state"]


def listed(project) -> list[dict]:
    return json.loads(project.taskrun("jobs", "list", "--json").succeeds().stdout)


def test_jobs_on_a_server_are_stored_run_and_shown(served):
    served.taskrun("enqueue", "greet", "name=world").succeeds().prints_exactly("1\n")
    served.taskrun("enqueue", "bad", "--max-attempts", "1").succeeds().prints_exactly("2\n")
    served.taskrun("enqueue", "greet", "nane=world").exits(2).says("nane", "name")
    served.taskrun("worker", "--drain").succeeds().prints("greet#1 | hello world").says("1 done, 1 dead")
    assert [each["state"] for each in listed(served)] == ["dead", "done"]
    served.taskrun("jobs", "show", "2").succeeds().prints("taskrun logs --run", "exit 3", "on fire")
    served.taskrun("jobs", "retry", "2").succeeds()
    assert state(served, 2) == "ready"


def test_a_worker_of_a_server_finishes_its_job_and_another_ones_is_cancelled(served):
    served.taskrun("enqueue", "slow").succeeds()
    worker = served.start("worker", "-j", "1")
    wait_for_files(served, "slow.up")
    served.taskrun("enqueue", "greet").succeeds()
    worker.signal(signal.SIGTERM).wait_for("1 running job will be finished first")
    served.write("go", "")
    worker.finish().succeeds()
    assert [each["state"] for each in listed(served)] == ["ready", "done"]
    (served.path / "go").unlink()
    (served.path / "slow.up").unlink()
    served.taskrun("enqueue", "slow").succeeds()
    worker = served.start("worker", "-j", "2")
    wait_for_files(served, "slow.up")
    served.taskrun("jobs", "cancel", "3").succeeds()
    wait_until(lambda: state(served, 3) == "cancelled", "the running job is cancelled")
    worker.signal(signal.SIGTERM).finish().succeeds()
    assert not [each for each in listed(served) if each["state"] == "running"]


def test_a_password_is_never_shown(served):
    served.env["TASKRUN_QUEUE"] = server().url("nowhere", user="guarded").replace("guarded@", "guarded:se%cret@")
    finished = served.taskrun("enqueue", "greet")
    assert finished.status in {2, 125}
    assert "cret" not in finished.stdout + finished.stderr
    assert "Traceback" not in finished.stderr
