"""At a terminal: Ctrl+C, Ctrl+Z, closing it, stopping it, resizing it, lending it; afterwards it is as it was before."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time

import pytest
from support import runs
from support.census import state_of
from support.commands import CTRL_C, CTRL_Q, CTRL_S, CTRL_Z
from support.project import pids_of
from support.real import NEVER, UP, WAIT_FOR_GO, WITH_TIME, went_to

PROMPT = "READY> "
LIVE = r"\[\d+/\d+\].*running"
"""The last line of the live area."""


def bash(project):
    """An interactive shell with job control, at its first prompt. It does no editing: so the terminal's modes stay."""
    terminal = project.terminal(argv=("bash", "--norc", "--noprofile", "--noediting", "-i"), env={"PS1": PROMPT})
    terminal.expect(PROMPT)
    return terminal


def leave(terminal):
    """Leaves the shell, which must be at its prompt; that also shows that the keyboard is its own again."""
    terminal.press("exit 0\n").finish().exits(0)


def runner_of(project):
    """The runner's pid, once the run has begun."""
    runs.wait_until(lambda: runs.kinds(project), "the run has begun")
    return runs.events(project)[0]["pid"]


def expect_given_back(terminal, before):
    """The terminal's modes are as before, the cursor is visible and at the start of a line."""
    assert terminal.settings() == before
    assert terminal.raw.count(b"\x1b[?25l") == terminal.raw.count(b"\x1b[?25h")
    assert terminal.text.endswith("\n")


# --- Ctrl+C


def test_ctrl_c_gives_the_terminal_back_and_leaves_nothing(real):
    with real.terminal("run", "*", *WITH_TIME) as terminal:
        before = terminal.settings()
        runs.wait_for_files(real, *UP)
        terminal.expect(LIVE)
        terminal.press(CTRL_C)
        finished = terminal.finish().dies_of(signal.SIGINT)
        expect_given_back(terminal, before)
    assert real.left_behind() == []
    went_to(real, signal.SIGINT)
    finished.prints("Interrupted: stopping 3 tasks", "not run  after", "Summary", "interrupted by SIGINT")
    finished.never_says("Traceback", "Killing")


def test_the_shell_gets_its_prompt_and_its_descriptors_back(real):
    with bash(real) as terminal:
        before = terminal.settings()
        terminal.press(f"taskrun run '*' --grace {NEVER}\n")
        runs.wait_for_files(real, *UP)
        terminal.press(CTRL_C).expect("Summary")
        terminal.expect(PROMPT)
        assert terminal.settings() == before
        terminal.press("echo status $?; python3 -c 'import os; print([os.get_blocking(fd) for fd in (0, 1, 2)])'\n")
        terminal.expect(r"\nstatus 130\n")
        terminal.expect(r"\[True, True, True\]")
        terminal.expect(PROMPT)
        leave(terminal)
    went_to(real, signal.SIGINT)


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_a_script_that_is_interrupted_stops(real, shell):
    """It stops only if it sees that the command died of the signal, not that it exited with 130."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    real.write("script", f"taskrun run '*' --grace {NEVER}\necho the script went on\n")
    with real.terminal(argv=(shell, "script")) as terminal:
        runs.wait_for_files(real, *UP)
        terminal.press(CTRL_C)
        terminal.finish().dies_of(signal.SIGINT).prints("Summary").never_says("went on")
    went_to(real, signal.SIGINT)


def test_an_interrupt_that_is_forwarded_as_well_counts_once(project):
    """As `npm` does: the terminal has delivered it to everybody, and the wrapper passes its own on."""
    project.tasks("""
        [tasks.a]
        shell = "trap 'echo cleaned up; exit 0' INT; : > a.up; while :; do sleep 0.02; done"
    """)
    project.write(
        "wrapper.py",
        """
        import signal, subprocess, sys
        child = subprocess.Popen(sys.argv[1:])
        signal.signal(signal.SIGINT, lambda *_: child.send_signal(signal.SIGINT))
        print("wrapped", child.wait())
    """,
    )
    with project.terminal(argv=("python3", "wrapper.py", *project.command, "run", "a", *WITH_TIME)) as terminal:
        runs.wait_for_files(project, "a.up")
        terminal.press(CTRL_C)
        terminal.finish().prints("Interrupted", "cleaned up", "wrapped -2").never_says("Killing")
    assert runs.kinds(project).count("run.cancel") == 1


# --- ten transcodes

TRANSCODES = """
[run]
jobs = 2
[tasks.transcode]
foreach.number = { range = [1, 10] }
run = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc=size=320x240:duration=3600", "-c:v", "mpeg4", "{{ number }}.mp4"]
"""


def transcodes(project):
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    return project.tasks(TRANSCODES)


def under_way(project):
    """Two of them have started; then some moment, which is another one in every test."""
    runs.wait_started(project, 2)
    time.sleep(random.Random(os.environ.get("PYTEST_CURRENT_TEST")).uniform(0, 0.5))


def expect_no_ffmpeg(project, within=10.0):
    project.expect_nothing_left(within=within)
    assert pids_of("testsrc=size=320x240:duration=3600") == []


def test_ctrl_c_ends_ten_transcodes_at_any_moment(project):
    transcodes(project)
    with project.terminal("run", "transcode", *WITH_TIME) as terminal:
        before = terminal.settings()
        under_way(project)
        terminal.press(CTRL_C)
        terminal.finish().dies_of(signal.SIGINT).prints("2 stopped, 8 not run")
        expect_given_back(terminal, before)
    expect_no_ffmpeg(project, within=0.0)
    assert sorted(runs.states(project).values()) == ["cancelled"] * 2 + ["not-started"] * 8


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda n: n.name)
def test_a_signal_ends_ten_transcodes_too(project, number):
    transcodes(project)
    with project.terminal("run", "transcode", *WITH_TIME) as terminal:
        under_way(project)
        os.kill(terminal.pid, number)
        terminal.finish().dies_of(number)
    expect_no_ffmpeg(project)
    if number != signal.SIGKILL:
        assert sorted(runs.states(project).values()) == ["cancelled"] * 2 + ["not-started"] * 8


def test_the_death_of_the_host_ends_ten_transcodes_too(project):
    transcodes(project)
    with project.terminal("run", "transcode", *WITH_TIME) as terminal:
        before = terminal.settings()
        under_way(project)
        os.kill(runs.named(terminal.pid, runs.HOST), signal.SIGKILL)
        terminal.finish().exits(1).prints("lost: ", "2 failed, 8 not run")
        expect_given_back(terminal, before)
    expect_no_ffmpeg(project, within=0.0)


# --- the terminal goes away, or stands still


def test_a_terminal_that_is_closed_ends_the_run_by_hup(real):
    with real.terminal("run", "*", *WITH_TIME) as terminal:
        runs.wait_for_files(real, *UP)
        terminal.expect(LIVE)
        terminal.hang_up()
        assert terminal.leave_unread() == -signal.SIGHUP
    assert real.left_behind() == []
    went_to(real, signal.SIGHUP)
    assert runs.summary(real)["trouble"] == []


def test_a_closed_window_with_a_shell_in_it_ends_the_run_too(real):
    with bash(real) as terminal:
        terminal.press(f"taskrun run '*' --grace {NEVER}\n")
        runs.wait_for_files(real, *UP)
        terminal.hang_up().leave_unread()
    real.expect_nothing_left()
    went_to(real, signal.SIGHUP)


def chatty(project):
    """A task that writes more than a terminal takes while nobody reads it."""
    return project.tasks("""
        [tasks.a]
        shell = "while :; do echo a line of output that fills the terminal; done"
        [tasks.b]
        shell = ": > b.up; exec sleep 71.25"
    """)


def test_a_terminal_that_is_stopped_by_ctrl_s_does_not_hold_an_interrupt_up(project):
    """The key Ctrl+C would let it go on: so the signal comes from elsewhere."""
    chatty(project)
    with project.terminal("run", "a", "b", "--output", "stream", *WITH_TIME) as terminal:
        before = terminal.settings()
        runs.wait_for_files(project, "b.up")
        terminal.expect("fills the terminal")
        terminal.press(CTRL_S)
        time.sleep(0.3)  # by now it is full
        os.kill(terminal.pid, signal.SIGINT)
        assert terminal.leave_unread() == -signal.SIGINT
        terminal.press(CTRL_Q)
        assert terminal.settings() == before
    assert project.left_behind() == []
    assert runs.states(project) == {"a": "cancelled", "b": "cancelled"}


def test_ctrl_c_on_a_terminal_that_nobody_reads(project):
    chatty(project)
    with project.terminal("run", "a", "b", "--output", "stream", *WITH_TIME) as terminal:
        runs.wait_for_files(project, "b.up")
        terminal.expect("fills the terminal")
        time.sleep(0.3)  # by now it is full
        terminal.press(CTRL_C)
        assert terminal.leave_unread() == -signal.SIGINT
    assert project.left_behind() == []
    assert runs.states(project) == {"a": "cancelled", "b": "cancelled"}


def test_ctrl_z_on_a_terminal_that_stands_still(project):
    chatty(project)
    with bash(project) as terminal:
        terminal.press(f"taskrun run a b --output stream --grace {NEVER}\n").expect("fills the terminal")
        runner = runner_of(project)
        time.sleep(0.3)  # by now it is full
        terminal.press(CTRL_Z)
        runs.wait_state(runner, "T")
        os.kill(runner, signal.SIGTERM)
        os.kill(runner, signal.SIGCONT)
        runs.wait_gone(runner)
    assert runs.states(project) == {"a": "cancelled", "b": "cancelled"}


# --- Ctrl+Z


def patient(project):
    """Tasks of three kinds that end when `go` is made, with clocks that a long pause would set off."""
    project.write("calls.py", "import os, time\n\ndef call():\n    open('call.up', 'w').close()\n"
                  "    while not os.path.exists('go'):\n        time.sleep(0.02)\n")  # fmt: skip
    clocks = '\ntimeout = "3s"\nidle-timeout = "3s"\nstart-timeout = "3s"\n'
    return project.tasks(
        f"[run]\njobs = 4\n[tasks.shell]\nshell = ': > shell.up; {WAIT_FOR_GO}'{clocks}"
        f"[tasks.call]\npython = 'calls:call'{clocks}"
        "[tasks.loud]\nshell = ': > loud.up; until [ -e go ]; do echo tick; sleep 0.02; done'\nidle-timeout = '3s'\n"
    )


def test_ctrl_z_stops_everything_and_fg_goes_on_as_if_nothing_had_been(project):
    patient(project)
    with bash(project) as terminal:
        before = terminal.settings()
        terminal.press("taskrun run '*' --deadline 3s\n")
        runs.wait_for_files(project, "shell.up", "call.up", "loud.up")
        terminal.press(CTRL_Z).expect("Stopped")
        terminal.expect(PROMPT)
        assert terminal.settings() == before
        assert terminal.raw.count(b"\x1b[?25l") == terminal.raw.count(b"\x1b[?25h")
        runner = runner_of(project)
        leaders = runs.wait_started(project, 3)
        for pid in (runner, *leaders.values()):
            assert state_of(pid) == "T"
        time.sleep(3.2)  # longer than any of the clocks
        terminal.press("fg\n")
        for pid in (runner, *leaders.values()):
            runs.wait_state(pid, "SRD")
        project.write("go", "")
        terminal.expect("3 ok")
        terminal.expect(PROMPT)
        terminal.press("echo status $?\n").expect(r"\nstatus 0\n")
        assert terminal.settings() == before
        leave(terminal)
    assert set(runs.states(project).values()) == {"succeeded"}
    events = {event["event"]: event for event in runs.events(project)}
    assert events["run.resume"]["paused"] > 3
    assert all(end["elapsed"] < 3 for end in runs.ends(project).values())


def test_bg_lets_it_go_on_without_drawing(project):
    patient(project)
    with bash(project) as terminal:
        terminal.press("taskrun run '*'\n")
        runs.wait_for_files(project, "shell.up", "call.up", "loud.up")
        terminal.expect(LIVE)
        terminal.press(CTRL_Z).expect("Stopped")
        terminal.expect(PROMPT)
        terminal.press("bg\n").expect(PROMPT)
        seen = len(terminal.raw)
        runner = runner_of(project)
        for pid in (runner, *runs.wait_started(project, 3).values()):
            runs.wait_state(pid, "SRD")
        terminal.press("echo still here\n").expect(r"\nstill here\n")
        time.sleep(0.7)  # in which it would have drawn
        project.write("go", "")
        terminal.expect("Summary.*3 ok")
        runs.wait_gone(runner)
        terminal.press("jobs\n").expect("Done")
        drawn = terminal.raw[seen:]
        for sequence in (b"\x1b[?25l", b"\x1b[A", b"\x1b[1A", b"\x1b[2K", b"\x1b[J", b"\x1b[0J", b"\x1b[K"):
            assert sequence not in drawn
        leave(terminal)
    assert set(runs.states(project).values()) == {"succeeded"}


def test_a_run_begun_in_the_background_draws_only_once_it_is_brought_forward(project):
    patient(project)
    with bash(project) as terminal:
        terminal.press("taskrun run '*' &\n")
        runs.wait_for_files(project, "shell.up", "call.up", "loud.up")
        terminal.press("echo mine\n").expect(r"\nmine\n")
        time.sleep(0.7)  # in which it would have drawn
        assert b"\x1b[?25l" not in terminal.raw
        terminal.press("fg\n").expect(LIVE)  # it was not stopped: no SIGCONT tells it
        project.write("go", "")
        terminal.expect("Summary.*3 ok")
        leave(terminal)


def test_a_run_that_is_killed_while_it_is_stopped_ends_by_that_signal(real):
    with bash(real) as terminal:
        terminal.press(f"taskrun run '*' --grace {NEVER}\n")
        runs.wait_for_files(real, *UP)
        terminal.press(CTRL_Z).expect("Stopped")
        runner = runner_of(real)
        terminal.press("kill %1\n")
        runs.wait_gone(runner)
        terminal.press("jobs\n").expect("Terminated")
        leave(terminal)
    went_to(real, signal.SIGTERM)


def test_ctrl_z_at_random_moments_while_it_spawns_flat_out_never_sticks(project):
    project.tasks("""
        [run]
        jobs = 4
        [tasks.a]
        foreach.number = { range = [1, 1200] }
        run = ["true"]
    """)
    moments = random.Random(7)
    with bash(project) as terminal:
        terminal.press("taskrun run a --ui none >out.txt 2>&1\n")
        runner = runner_of(project)
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


def test_ctrl_z_before_the_first_task_and_after_the_last_one(project):
    """While a file's sources are read there is no run yet; while a slow reader takes the rest there is none any more."""
    project.tasks("""
        [vars]
        slow = { shell = ": > slow.up; sleep 0.6; echo late" }
        [tasks.a]
        shell = "echo {{ vars.slow }}; head -c 300000 /dev/zero | tr '\\\\0' x; echo; : > a.up"
    """)
    with bash(project) as terminal:
        terminal.press("set -o pipefail; taskrun run a | (until [ -e go ]; do sleep 0.02; done; tail -c 5)\n")
        runs.wait_for_files(project, "slow.up")
        terminal.press(CTRL_Z).expect("Stopped")
        terminal.press("fg\n")
        runs.wait_for_files(project, "a.up")
        runs.wait_until(lambda: runs.ends(project), "the task has ended")
        terminal.press(CTRL_Z).expect("Stopped")
        terminal.press("fg\n")
        project.write("go", "")
        terminal.expect("xxxx\n")
        terminal.expect(PROMPT)
        terminal.press("echo status $?\n").expect(r"\nstatus 0\n")
        leave(terminal)


# --- other sizes


def test_a_storm_of_resizes_tears_no_line(project):
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
        finished = terminal.finish().exits(0).prints("Summary", "2 ok").never_says("Traceback")
    finished.prints(*(f"a | whole line number {number}\n" for number in range(1, 201)))


# --- interactive tasks


def test_an_interactive_task_may_take_ctrl_c_for_itself(project):
    project.tasks("""
        [tasks.ask]
        shell = "trap 'echo never mind' INT; echo your name?; until read name; do :; done; echo hello $name"
        interactive = true
        [tasks.other]
        shell = "until [ -e go ]; do sleep 0.02; done"
    """)
    with project.terminal("run", "ask", "other") as terminal:
        terminal.expect(r"your name\?")
        terminal.press(CTRL_C).expect("never mind")
        terminal.press("Ada\n").expect("hello Ada")
        project.write("go", "")
        terminal.finish().exits(0)
    assert "run.cancel" not in runs.kinds(project)


def test_ctrl_c_that_an_interactive_task_answers_by_ending_well_is_not_the_runs(project):
    """The runner stands still meanwhile, and so hears of the key and of the end at once: eight times, in any order."""
    project.tasks("""
        [tasks.stop]
        foreach.number = { range = [1, 8] }
        shell = "trap 'exit 0' INT; echo pid $$; while :; do sleep 0.02; done"
        interactive = true
    """)
    with project.terminal("run", "stop") as terminal:
        for _ in range(8):
            task = int(terminal.expect(r"pid (\d+)\n")[1])
            os.kill(terminal.pid, signal.SIGSTOP)
            terminal.press(CTRL_C)
            runs.wait_state(task, "Z")
            os.kill(terminal.pid, signal.SIGCONT)
        terminal.finish().exits(0).prints("8 ok")


def test_a_signal_from_elsewhere_ends_an_interactive_task_with_the_run(project):
    project.tasks("""
        [tasks.ask]
        shell = "echo your name?; read name"
        interactive = true
    """)
    with project.terminal("run", "ask", *WITH_TIME) as terminal:
        terminal.expect(r"your name\?")
        os.kill(terminal.pid, signal.SIGTERM)
        terminal.finish().dies_of(signal.SIGTERM)
    assert runs.states(project) == {"ask": "cancelled"}


def test_an_interactive_task_may_take_ctrl_z_for_itself(project):
    project.tasks("""
        [tasks.ask]
        shell = "trap '' TSTP; echo your name?; read name; echo hello $name"
        interactive = true
    """)
    with bash(project) as terminal:
        terminal.press("taskrun run ask\n").expect(r"your name\?")
        terminal.press(CTRL_Z)
        terminal.press("Ada\n").expect("hello Ada")
        terminal.expect("1 ok")
        leave(terminal)
    assert "run.suspend" not in runs.kinds(project)


def test_the_timeout_of_an_interactive_task_counts(project):
    project.tasks("""
        [tasks.ask]
        shell = "echo your name?; read name"
        interactive = true
        timeout = "400ms"
    """)
    with project.terminal("run", "ask") as terminal:
        before = terminal.settings()
        terminal.expect(r"your name\?")
        terminal.finish().exits(124).prints("timed out after 400ms")
        expect_given_back(terminal, before)


def test_an_interactive_task_that_garbles_the_terminal_is_cleaned_up_after(project):
    project.tasks("""
        [tasks.garble]
        shell = "stty raw -echo; exit 3"
        interactive = true
    """)
    with project.terminal("run", "garble") as terminal:
        before = terminal.settings()
        terminal.finish().exits(1)
        expect_given_back(terminal, before)


def test_what_an_interactive_task_leaves_running_is_killed(project):
    project.tasks("""
        [tasks.leave]
        shell = "sleep 72.25 & setsid sleep 72.25 & echo left"
        interactive = true
    """)
    with project.terminal("run", "leave") as terminal:
        terminal.expect("left")
        terminal.finish().exits(0)
    assert pids_of("sleep 72.25") == []
    assert len(runs.ends(project)["leave"]["leaked"]) == 2
