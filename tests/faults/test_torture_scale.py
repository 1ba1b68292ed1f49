"""Many tasks: ten thousand programs, a chain of five thousand, a web of twenty thousand, five hundred at once.

In the suite the first is a third of that, and the web's tasks are no programs: with ``TORTURE_SECONDS`` set they are.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from support import runs
from support.census import descriptors_of, zombies_of
from support.torture import SECONDS

if TYPE_CHECKING:
    from support.commands import Running
    from support.oracle import Oracle
    from support.project import ProjectDir

pytestmark = pytest.mark.slow

MINUTES = 300.0  # seconds that a run may take before it counts as hanging
JOBS = 16
FULL = bool(os.environ.get(SECONDS))
HALF = 5000 if FULL else 1500


def test_ten_thousand_programs_half_of_them_in_a_chain(project: ProjectDir, oracle: Oracle) -> None:
    oracle.bound = 2 * MINUTES
    links = "".join(f'[tasks.c{n}]\nneeds = ["c{n - 1}"]\nrun = ["true"]\n' for n in range(1, HALF))
    project.tasks(
        f'[run]\njobs = {JOBS}\n[tasks.wide]\nforeach.n = {{ range = [1, {HALF}] }}\nrun = ["true"]\n'
        f'[tasks.c0]\nrun = ["true"]\n{links}'
    )
    running = project.start("run", "*", "--ui", "none")
    seen = watched(project, running)
    running.finish(timeout=MINUTES).succeeds()
    ends = runs.ends(project)
    assert Counter(end["state"] for end in ends.values()) == {"succeeded": 2 * HALF}
    order = [int(name[1:]) for name in ends if name.startswith("c")]
    assert order == sorted(order)
    expect_flat(seen)


def watched(project: ProjectDir, running: Running) -> list[dict[str, int]]:
    """What runner and host hold, as long as the run lasts."""
    runs.runner_of(project)
    host = runs.named(running.pid, runs.HOST)
    seen = []
    while running.process.poll() is None:
        try:
            seen.append(
                {
                    "runner's KiB": resident(running.pid),
                    "host's KiB": resident(host),
                    "runner's descriptors": descriptors_of(running.pid),
                    "host's descriptors": descriptors_of(host),
                    "zombies": len(zombies_of(host)),
                }
            )
        except (OSError, StopIteration):  # it has just ended
            break
        time.sleep(0.25)
    return seen


def resident(pid: int) -> int:
    """KiB of memory."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def expect_flat(seen: list[dict[str, int]]) -> None:
    """What is held at the end is what was held after a quarter of the time, and some; not what grows with each task."""
    early, late = seen[len(seen) // 4], seen[-2:][0]
    assert late["runner's KiB"] < 120_000, (early, late)
    assert late["runner's KiB"] < early["runner's KiB"] + 30_000, (early, late)
    assert late["host's KiB"] < early["host's KiB"] + 5_000, (early, late)
    for name in ("runner's descriptors", "host's descriptors", "zombies"):
        assert late[name] <= early[name] + 6 * JOBS, (name, early, late)


def test_ctrl_c_in_the_middle_of_ten_thousand(project: ProjectDir, oracle: Oracle) -> None:
    """In one second on a quiet machine; here it must but end, whole, and without ten thousand lines."""
    oracle.bound = 2 * MINUTES
    project.tasks(f'[run]\njobs = {JOBS}\n[tasks.n]\nforeach.n = {{ range = [1, 10000] }}\nrun = ["true"]\n')
    running = project.start("run", "n", "--ui", "plain", "--events", "events")
    events = project.path / "events"

    def half() -> bool:
        return events.exists() and events.read_bytes().count(b'"task.end"') >= 3000

    runs.wait_until(half, "3,000 have ended", timeout=MINUTES)
    finished = running.signal(signal.SIGINT).finish().dies_of(signal.SIGINT)
    counts = Counter(runs.states(project).values())
    assert counts.keys() <= {"succeeded", "cancelled", "not-started"}
    assert (counts.total(), counts["succeeded"] >= 3000, counts["not-started"] > 0) == (10_000, True, True)
    assert finished.stderr[finished.stderr.index("Interrupted") :].count("\n") < 100


def test_a_web_of_twenty_thousand_with_three_needs_each(project: ProjectDir, oracle: Oracle) -> None:
    oracle.bound = 2 * MINUTES
    choices = random.Random(20_000)
    when = "" if FULL else 'when = { exists = "never" }\n'
    needs = [sorted(choices.sample(range(max(0, n - 60), n), min(3, n))) for n in range(20_000)]
    project.tasks(
        f"[run]\njobs = {JOBS}\n"
        + "".join(
            f'[tasks.t{n}]\nneeds = {[f"t{m}" for m in of]}\nrun = ["true"]\n{when}' for n, of in enumerate(needs)
        )
    )
    project.taskrun("run", "*", "--ui", "none", timeout=MINUTES).succeeds()
    ends = runs.ends(project)
    assert len(ends) == 20_000
    assert {end["state"] for end in ends.values()} == {"skipped" if when else "succeeded"}
    place = {name: at for at, name in enumerate(ends)}
    assert all(place[f"t{m}"] < place[f"t{n}"] for n, of in enumerate(needs) for m in of)


@pytest.mark.parametrize("descriptors", [256, 8192])
def test_five_hundred_at_once(project: ProjectDir, oracle: Oracle, descriptors: int) -> None:
    """Or as many as there are descriptors for. Each writes, so that none of them can lack a pipe unseen."""
    oracle.bound = 2 * MINUTES
    project.tasks('[tasks.n]\nforeach.n = { range = [1, 500] }\nshell = "echo {{ n }}; sleep 0.05; echo {{ n }} >&2"\n')
    finished = project.sh(f"ulimit -n {descriptors}; taskrun run -j 500 n --ui none", timeout=MINUTES).succeeds()
    few = "only 32 tasks at once instead of 500: too few open files are allowed"
    assert finished.stderr.count(few) == (descriptors == 256)
    for text in (finished.stdout, finished.stderr.replace(few, "")):
        lines = [line.rsplit(" | ", 1)[1] for line in text.splitlines() if " | " in line]
        assert sorted(map(int, lines)) == list(range(1, 501))
