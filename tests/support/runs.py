"""Runs seen from outside: what has been written of the last one, who its processes are, what they are doing."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from support.census import name_of, state_of
from support.commands import PATIENCE, POLL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.project import ProjectDir

HOST, TEMPLATE = "taskrun-host", "taskrun-templat"
"""Names of processes, as the kernel cuts them."""


def wait_until(what: Callable[[], object], why: str, *, timeout: float = PATIENCE) -> None:
    """Waits until something is true, and says what it was if it never is."""
    deadline = time.monotonic() + timeout
    while not what():
        assert time.monotonic() < deadline, f"not within {timeout} s: {why}"
        time.sleep(POLL)


def wait_for_files(project: ProjectDir, *names: str) -> None:
    """Waits until tasks have made these files, which is how they say that they have come so far."""
    for name in names:
        path = project.path / name

        def made(path: Path = path) -> bool:
            ended = project.ended_early()
            assert path.exists() or ended is None, f"ended without making {path.name}\n{ended!r}"
            return path.exists()

        wait_until(made, f"{name} is made")


# --- what was written of the last run


def folder(project: ProjectDir) -> Path:
    """The last run's folder."""
    return project.path / ".taskrun" / "runs" / "latest"


def summary(project: ProjectDir) -> dict[str, Any]:
    """The last run's `run.json`."""
    content: dict[str, Any] = json.loads((folder(project) / "run.json").read_text())
    return content


def events(project: ProjectDir) -> list[dict[str, Any]]:
    """The last run's events, as far as they are written; each line whole, and numbered without a gap."""
    path = folder(project) / "events.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    assert [event["seq"] for event in found] == list(range(1, len(found) + 1))
    return found


def kinds(project: ProjectDir) -> list[str]:
    """The kinds of these events."""
    return [event["event"] for event in events(project)]


def ends(project: ProjectDir) -> dict[str, dict[str, Any]]:
    """The `task.end` events, by task."""
    return {event["task"]: event for event in events(project) if event["event"] == "task.end"}


def states(project: ProjectDir) -> dict[str, str]:
    """How each task ended; the events and `run.json` must agree."""
    by_events = {task: end["state"] for task, end in ends(project).items()}
    by_record = {task: end["state"] for task, end in summary(project)["tasks"].items()}
    assert by_events == by_record
    return by_events


def wait_started(project: ProjectDir, count: int) -> dict[str, int]:
    """Waits until so many tasks have started; returns the pids of their leaders."""
    wait_until(lambda: kinds(project).count("task.start") >= count, f"{count} tasks have started")
    return {event["task"]: event["pid"] for event in events(project) if event["event"] == "task.start"}


# --- processes


def below(pid: int) -> Iterator[int]:
    """The processes below one, parents first."""
    for child in children(pid):
        yield child
        yield from below(child)


def children(pid: int) -> list[int]:
    """The child processes of one, of whichever thread of it."""
    found = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found += [int(number) for number in file.read().split()]
    except OSError:  # it is gone
        pass
    return found


def named(runner: int, name: str) -> int:
    """The process below the runner that has this name; its children have it too, for a moment, until their exec."""
    found: list[int] = []

    def found_one() -> bool:
        found[:] = [pid for pid in below(runner) if name_of(pid) == name][:1]
        return bool(found)

    wait_until(found_one, f"{name} runs")
    return found[0]


def wait_state(pid: int, states: str) -> None:
    """Waits until a process is in one of these states, as `ps` has them ("T": stopped)."""
    wait_until(lambda: (state_of(pid) or "-") in states, f"process {pid} comes into state {states}")


def runner_of(project: ProjectDir) -> int:
    """The runner's pid, once the run has begun."""
    wait_until(lambda: kinds(project), "the run has begun")
    pid: int = events(project)[0]["pid"]
    return pid


def wait_gone(pid: int) -> None:
    """Waits until a process has ended and been reaped, or is left to the test itself to be reaped."""

    def gone() -> bool:
        state = state_of(pid)
        return not state or (state == "Z" and pid in children(os.getpid()))

    wait_until(gone, f"process {pid} is gone")
