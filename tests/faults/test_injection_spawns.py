"""Every start of a process, and of what one needs for it, fails in turn: one clear message, and nothing is left."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from support.injection import at_each_step

if TYPE_CHECKING:
    from support.injection import Injected

# What starts processes: a source, a program, a Python call, a task that has the terminal.
TASKS = """
    [vars]
    word = { shell = "echo word" }
    [tasks.program]
    run = ["echo", "{{ vars.word }}"]
    [tasks.call]
    python = "calls:work"
    [tasks.mine]
    interactive = true
    run = ["true"]
    [tasks.all]
    needs = ["program", "call", "mine"]
"""
# What each call may say, as far as it can.
NUMBERS = {
    "fork": (errno.EAGAIN, errno.ENOMEM),
    "pipe": (errno.EMFILE, errno.ENFILE),
    "mkfifo": (errno.ENOSPC,),
    "posix_spawn": (errno.EAGAIN, errno.EMFILE, errno.ENOMEM, errno.E2BIG, errno.ENOEXEC),
}
SAID = {
    errno.EAGAIN: "no more processes may be started",
    errno.EMFILE: "too many open files",
    errno.ENOMEM: "not enough memory",
    errno.E2BIG: "too long",
    errno.ENOEXEC: "is not a program",
}
"""In the words of the host, which knows what it has tried; elsewhere the system's own."""


def ways(call: str) -> list[dict[str, Any]]:
    return [{"calls": [call], "errno": number, "for_good": good} for number in NUMBERS[call] for good in (False, True)]


@pytest.mark.parametrize(("role", "usual"), [("runner", 6), ("host", 6), ("template", 2), ("probe", 2)])
def test_every_start_fails_in_turn(tmp_path, oracle, role, usual):
    def start_fails(it: Injected) -> None:
        it.project.tasks(TASKS)
        it.project.write("calls.py", "def work():\n    return 5\n")
        finished = it.taskrun("run", "-k", "all", "--events", "events")
        if not it.struck:
            finished.succeeds()
            return
        number = it.plan["errno"]
        mistake = {2} if number in {errno.E2BIG, errno.ENOEXEC} else set()  # of the source, as far as anybody can tell
        assert finished.status in {0, 1, 125} | mistake, repr(finished)
        if not finished.status:
            return
        assert os.strerror(number) in finished.stderr or SAID.get(number, "-") in finished.stderr, repr(finished)
        if finished.status == 1 and not it.plan["for_good"]:
            events = [json.loads(line) for line in it.project.read("events").splitlines()]
            states = [event["state"] for event in events if event["event"] == "task.end"]
            assert states.count("failed") == 1, repr(finished)

    plan = {"what": "spawn", "role": role, "calls": []}
    at_each_step(tmp_path, plan, start_fails, oracle=oracle, usual=usual, ways=ways)
