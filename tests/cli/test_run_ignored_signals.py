"""Signals that the caller has set to be ignored stay so, as for any program."""

from __future__ import annotations

import signal

import pytest
from support import runs


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TSTP"])
def test_a_signal_that_the_caller_ignores_is_ignored(project, name):
    project.tasks("""
        [tasks.a]
        shell = ": > up; until [ -e go ]; do sleep 0.02; done; echo done"
    """)
    running = project.launch("sh", "-c", f"trap '' {name}; exec taskrun run a")
    runs.wait_for_files(project, "up")
    running.signal(signal.Signals[f"SIG{name}"])
    project.write("go", "")
    running.finish().succeeds().prints("done")
