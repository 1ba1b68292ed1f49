"""The guard against what tests leave behind, itself tested: it runs over tests that do leave something."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys

import pytest

CONFTEST = os.path.join(os.path.dirname(__file__), "conftest.py")

UNTIDY = """
import os, subprocess, threading, trio

def test_descriptor():
    os.pipe()

def test_thread():
    threading.Thread(target=threading.Event().wait, daemon=True).start()

def test_child_process():
    if not os.fork():
        os._exit(0)

def test_process():
    subprocess.run(["sh", "-c", "setsid sleep 60 >/dev/null 2>&1 & echo $! > pid"], check=True)

def test_tidy_one():
    assert "TASKRUN_JOBS" not in os.environ and "CI" not in os.environ
    trio.run(trio.to_thread.run_sync, lambda: None)
    subprocess.run(["true"], check=True)
"""


def end_adopted(orphan: int) -> None:
    """Where this process is a subreaper, what the inner run left behind is now our child."""
    with contextlib.suppress(OSError):
        os.kill(orphan, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(orphan, 0)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


@pytest.mark.slow
def test_a_test_that_leaves_something_behind_fails_and_a_tidy_one_passes(tmp_path):
    folder = tmp_path / "process"
    folder.mkdir()
    shutil.copy(CONFTEST, tmp_path)
    (folder / "test_it.py").write_text(UNTIDY)
    argv = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(folder)]
    env = os.environ | {"TASKRUN_JOBS": "1", "CI": "1", "COLUMNS": "200", "LEFT_BEHIND_PATIENCE": "1"}

    try:
        run = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    finally:
        end_adopted(int((tmp_path / "pid").read_text()))

    for what in ("descriptor", "thread", "child_process", "process"):
        name = what.replace("_", " ")
        assert f"ERROR process/test_it.py::test_{what} - Failed: left behind: {name} " in run.stdout
    assert run.stdout.count("ERROR process/test_it.py") == 4
    assert "PASSED process/test_it.py::test_tidy_one" in run.stdout
