"""Nobody reads what taskrun writes: tasks are held up as in any pipeline, and a signal still ends the run (P5)."""

from __future__ import annotations

import os
import signal

from support import runs

CAPACITY = 4 << 20
"""Bytes of output that taskrun keeps for a reader who is slow."""


def test_an_interrupt_ends_a_run_whose_output_nobody_reads(project):
    """The task waits for room in its pipe: what it had written is in its log, and its end needs no reader."""
    project.tasks("""
        [tasks.a]
        run = ["yes"]
        grace = "1s"
    """)
    reading, writing = os.pipe()
    try:
        running = project.start("run", "a", stdout=writing)
        runs.wait_until(lambda: _logged(project) > CAPACITY, "there is no more room")
        running.process.send_signal(signal.SIGINT)
        running.finish().dies_of(signal.SIGINT)
    finally:
        os.close(reading)
        os.close(writing)
    assert runs.states(project) == {"a": "cancelled"}
    assert project.left_behind() == []


def _logged(project):
    return sum(log.stat().st_size for log in (project.path / ".taskrun").glob("runs/*/logs/*"))
