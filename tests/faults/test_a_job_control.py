"""Rows A15 to A19: Ctrl+Z, `fg`, `bg`, `kill %1`, and a window whose size changes all the time."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from support import runs
from support.census import state_of
from support.commands import CTRL_Z
from support.contexts import PROMPT, at_prompt
from support.real import NEVER, UP, WAIT_FOR_GO, went_to

LIVE = r"\[\d+/\d+\].*running"
"""The last line of the live area."""
CLOCK = 3
"""Seconds of all clocks of `patient`."""


def leave(terminal):
    """Leaves the shell, which must be at its prompt; that also shows that the keyboard is its own again."""
    terminal.press("exit 0\n").finish().exits(0)


@pytest.fixture
def patient(project):
    """Tasks of three kinds that end when `go` is made, with clocks that a long pause would set off."""
    project.write("calls.py", "import os, time\n\ndef call():\n    open('call.up', 'w').close()\n"
                  "    while not os.path.exists('go'):\n        time.sleep(0.02)\n")  # fmt: skip
    clocks = f'\ntimeout = "{CLOCK}s"\nidle-timeout = "{CLOCK}s"\nstart-timeout = "{CLOCK}s"\n'
    return project.tasks(
        f"[run]\njobs = 4\n[tasks.shell]\nshell = ': > shell.up; {WAIT_FOR_GO}'{clocks}"
        f"[tasks.call]\npython = 'calls:call'{clocks}"
        f"[tasks.loud]\nshell = ': > loud.up; until [ -e go ]; do echo tick; sleep 0.02; done'\nidle-timeout = '{CLOCK}s'\n"
    )


PATIENT_UP = ("shell.up", "call.up", "loud.up")


def stopped(terminal):
    """Presses Ctrl+Z; the shell says so, and has its prompt and its terminal back."""
    terminal.press(CTRL_Z).expect("Stopped")
    terminal.expect(PROMPT)
    assert terminal.settings() == terminal.modes_before
    assert terminal.raw.rfind(b"\x1b[?25l") <= terminal.raw.rfind(b"\x1b[?25h"), "the cursor is hidden"


def test_a15_ctrl_z_and_fg(patient):
    with at_prompt(patient, f"taskrun run '*' --deadline {CLOCK}s") as terminal:
        runs.wait_for_files(patient, *PATIENT_UP)
        stopped(terminal)
        runner, leaders = runs.runner_of(patient), runs.wait_started(patient, 3).values()
        for pid in (runner, *leaders):
            runs.wait_state(pid, "T")  # a moment in D on its way does not count
        time.sleep(CLOCK + 0.2)
        terminal.press("fg\n")
        for pid in (runner, *leaders):
            runs.wait_state(pid, "SRD")
        patient.write("go", "")
        terminal.expect("3 ok")
        terminal.expect(PROMPT)
        terminal.press("echo status $?\n").expect(r"\nstatus 0\n")
        leave(terminal)
    assert set(runs.states(patient).values()) == {"succeeded"}
    events = {event["event"]: event for event in runs.events(patient)}
    assert events["run.resume"]["paused"] > CLOCK
    assert all(end["elapsed"] < CLOCK for end in runs.ends(patient).values())


def test_a15_a_run_within_a_run(patient):
    patient.write("outer/tasks.toml", "[tasks.inner]\ncwd = '..'\nrun = ['taskrun', 'run', '*']\n")
    with at_prompt(patient, "taskrun run -f outer/tasks.toml inner") as terminal:
        runs.wait_for_files(patient, *PATIENT_UP)
        everybody = (runs.runner_of(patient), *runs.wait_started(patient, 3).values())
        stopped(terminal)
        for pid in everybody:
            runs.wait_state(pid, "T")  # a moment in D on its way does not count
        terminal.press("fg\n")
        for pid in everybody:
            runs.wait_state(pid, "SRD")
        patient.write("go", "")
        terminal.expect("3 ok")
        terminal.expect(PROMPT)
        leave(terminal)
    assert set(runs.states(patient).values()) == {"succeeded"}


def test_a15_before_the_first_task_and_after_the_last_one(project):
    """While a file's sources are read there is no run yet; while a slow reader takes the rest there is none any more."""
    project.tasks("""
        [vars]
        slow = { shell = ": > slow.up; sleep 0.6; echo late" }
        [tasks.a]
        shell = "echo {{ vars.slow }}; head -c 300000 /dev/zero | tr '\\\\0' x; echo; : > a.up"
    """)
    line = "set -o pipefail; taskrun run a | (until [ -e go ]; do sleep 0.02; done; tail -c 5)"
    with at_prompt(project, line) as terminal:
        runs.wait_for_files(project, "slow.up")
        stopped(terminal)
        terminal.press("fg\n")
        runs.wait_for_files(project, "a.up")
        runs.wait_until(lambda: runs.ends(project), "the task has ended")
        stopped(terminal)
        terminal.press("fg\n")
        project.write("go", "")
        terminal.expect("xxxx\n")
        terminal.expect(PROMPT)
        terminal.press("echo status $?\n").expect(r"\nstatus 0\n")
        leave(terminal)


def test_a16_ctrl_z_at_random_moments_while_it_spawns_flat_out(project):
    project.tasks("""
        [run]
        jobs = 4
        [tasks.a]
        foreach.number = { range = [1, 1200] }
        run = ["true"]
    """)
    moments = random.Random(7)
    with at_prompt(project, "taskrun run a --ui none >out.txt 2>&1") as terminal:
        runner = runs.runner_of(project)
        stops = 0
        while stops < 15:
            time.sleep(moments.uniform(0, 0.1))
            terminal.press(CTRL_Z)
            if terminal.expect(f"Stopped|{PROMPT}")[0] == PROMPT:
                break  # it was quicker
            stops += 1
            assert state_of(runner) == "T"
            terminal.expect(PROMPT)
            terminal.press("fg\n")
        else:
            terminal.expect(PROMPT)
        leave(terminal)
    assert stops > 1
    assert runs.summary(project)["counts"] == {"succeeded": 1200}
    assert runs.kinds(project).count("run.suspend") == runs.kinds(project).count("run.resume") == stops


def test_a17_ctrl_z_and_bg(patient):
    with at_prompt(patient, "taskrun run '*'") as terminal:
        runs.wait_for_files(patient, *PATIENT_UP)
        terminal.expect(LIVE)
        stopped(terminal)
        terminal.press("bg\n").expect(PROMPT)
        seen = len(terminal.raw)
        runner = runs.runner_of(patient)
        for pid in (runner, *runs.wait_started(patient, 3).values()):
            runs.wait_state(pid, "SRD")
        terminal.press("echo still here\n").expect(r"\nstill here\n")
        time.sleep(0.7)  # in which it would have drawn
        patient.write("go", "")
        terminal.expect("Summary.*3 ok")
        runs.wait_gone(runner)
        terminal.press("jobs\n").expect("Done")
        drawn = terminal.raw[seen:]
        for sequence in (b"\x1b[?25l", b"\x1b[A", b"\x1b[1A", b"\x1b[2K", b"\x1b[J", b"\x1b[0J", b"\x1b[K"):
            assert sequence not in drawn
        leave(terminal)
    assert set(runs.states(patient).values()) == {"succeeded"}


def test_a17_begun_in_the_background_and_brought_forward(patient):
    with at_prompt(patient, "taskrun run '*' &") as terminal:
        runs.wait_for_files(patient, *PATIENT_UP)
        terminal.press("echo mine\n").expect(r"\nmine\n")
        time.sleep(0.7)  # in which it would have drawn
        assert b"\x1b[?25l" not in terminal.raw
        terminal.press("fg\n").expect(LIVE)  # it was not stopped: no SIGCONT tells it
        patient.write("go", "")
        terminal.expect("Summary.*3 ok")
        leave(terminal)


def test_a18_ctrl_z_and_kill(real):
    with at_prompt(real, f"taskrun run '*' --grace {NEVER}") as terminal:
        runs.wait_for_files(real, *UP)
        stopped(terminal)
        runner = runs.runner_of(real)
        terminal.press("kill %1\n")
        runs.wait_gone(runner)
        terminal.press("jobs\n").expect("Terminated")
        leave(terminal)
    went_to(real, signal.SIGTERM)


def test_a18_ctrl_z_and_sigkill(real, oracle):
    """A stopped runner cannot let its tasks go on, and dies all the same: its host continues them and ends them."""
    oracle.excuse("O3", "whoever gets SIGKILL leaves its terminal as it is")
    with at_prompt(real, f"taskrun run '*' --grace {NEVER}") as terminal:
        runs.wait_for_files(real, *UP)
        stopped(terminal)
        os.kill(runs.runner_of(real), signal.SIGKILL)
        real.expect_only(terminal.pid)
        leave(terminal)


def test_a19_a_storm_of_sigwinch(project):
    project.tasks(f"""
        [tasks.a]
        shell = "for i in $(seq 1 200); do echo whole line number $i; sleep 0.005; done; {WAIT_FOR_GO}"
        [tasks.b]
        shell = "{WAIT_FOR_GO}"
    """)
    sizes = random.Random(3)
    with project.terminal("run", "a", "b", "--output", "stream", columns=60) as terminal:
        terminal.expect("whole line number 1\n")
        for _ in range(100):
            terminal.resize(sizes.randint(1, 50), sizes.randint(1, 120))
            time.sleep(0.01)
        terminal.resize(24, 100)
        terminal.expect("whole line number 200\n")
        project.write("go", "")
        finished = terminal.finish().exits(0).prints("Summary", "2 ok")
    finished.prints(*(f"a | whole line number {number}\n" for number in range(1, 201)))
