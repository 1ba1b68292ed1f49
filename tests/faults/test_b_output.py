"""What tasks write, and what they do to their streams and the terminal: rows B16 to B27."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import signal
import struct
import time

import pytest
from support import runs
from support.census import state_of
from support.programs import as_task, python, writes

PEAK = """
    [tasks.peak]
    shell = '''
        runner=$(awk '/^PPid/ {print $2}' /proc/$PPID/status)
        awk '/^VmHWM/ {print $2}' /proc/$runner/status > peak
    '''
"""
needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads memory and times from /proc")
BESIDE = "[tasks.b]\nrun = ['true']\n"


def peak_mb(project):
    return int(project.read("peak")) / 1024


def size_of_log(project, task):
    return (runs.folder(project) / "logs" / f"{task}.1.log").stat().st_size


@needs_proc
@pytest.mark.parametrize(
    ("output", "block"),
    [("stream", "one line"), ("none", "zeros")],
    ids=["100 MB of one line", "100 MB of zeros (B20)"],
)
def test_b16_b20_memory_stays_bounded_whatever_a_task_writes(project, output, block):
    project.tasks(PEAK + as_task("big", writes(block, 100), finally_=["peak"]) + BESIDE)
    project.sh(f"taskrun run --output {output} big b | wc -c >size").succeeds()
    assert peak_mb(project) < 80
    assert size_of_log(project, "big") == 100_000_000


def test_b16_a_line_of_10_mb_is_cut_for_display_alone(project, oracle):
    written = b"x" * 10_000_000 + b"\nafter\n"
    project.tasks(as_task("a", ("sh", "-c", "head -c 10000000 /dev/zero | tr '\\0' x; echo; echo after")) + BESIDE)
    long, after = project.taskrun("run", "a", "b").succeeds().stdout.splitlines()
    assert (long.removeprefix("a | ").rstrip("…").strip("x"), after) == ("", "a | after")
    assert long.endswith("…")
    assert 60_000 < len(long) < 70_000
    assert project.taskrun("run", "a").succeeds().out == written
    oracle.expect_log("a", written)


def test_b16_a_capped_log_keeps_its_head_and_its_tail_and_says_how_much_is_missing(project):
    project.tasks(as_task("a", ("sh", "-c", "seq 300000"), log="64KiB"))
    project.taskrun("run", "-q", "a").succeeds()
    shown = project.taskrun("logs", "a").succeeds().stdout
    assert shown.startswith("1\n2\n")
    assert shown.endswith("299999\n300000\n")
    assert len(shown) < 80_000
    assert " left out" in shown


@pytest.mark.slow
@needs_proc
def test_b16_1_gb_is_byte_exact_in_the_pipe_and_in_the_log(project, oracle):
    oracle.excuse("O5", "the log is compared here, and removed")
    project.tasks(PEAK + as_task("big", writes("lines", 1000), finally_=["peak"]))
    again = shlex.join(writes("lines", 1000))
    project.sh(f"cmp <(taskrun run big; echo $? >status) <({again}) && cat status", timeout=120).prints_exactly("0\n")
    assert peak_mb(project) < 80
    log = runs.folder(project) / "logs" / "big.1.log"
    project.sh(f"cmp {log} <({again})", timeout=120).succeeds()
    log.unlink()


@needs_proc
def test_b17_a_flood_from_eight_tasks_holds_up_no_clock_and_loses_no_byte(project):
    """They write until another task, which never writes, has hit its clock; each knows the digest of what it wrote."""
    flood = """
import hashlib
digest, lines = hashlib.sha256(), 0
while not os.path.exists('over') or lines < 100000:
    block = b''.join(b'%s %d\\n' % (sys.argv[1].encode(), n) for n in range(lines, lines + 1000))
    lines += 1000
    digest.update(block)
    while block: block = block[os.write(1, block):]
open(sys.argv[1] + '.digest', 'w').write(digest.hexdigest())
"""
    timed_out = ("sh", "-c", "trap ': > over; exit 0' TERM; while :; do sleep 0.05; done")
    project.tasks(
        "[run]\njobs = 9\n"
        + PEAK
        + as_task("clock", timed_out, timeout="700ms", allow_failure=True)
        + "".join(as_task(f"t{n}", python(flood, f"t{n}"), finally_=["peak"]) for n in range(8))
    )
    project.sh("taskrun run --output stream clock 't*' >shown").succeeds()
    assert runs.states(project)["clock"] == "timed-out"
    assert peak_mb(project) < 120
    shown = {f"t{n}": hashlib.sha256() for n in range(8)}
    with open(project.path / "shown", "rb") as file:
        for line in file:
            task, _bar, rest = line.split(b" ", 2)
            shown[task.decode()].update(rest)
    for name, digest in shown.items():
        logged = hashlib.sha256((runs.folder(project) / "logs" / f"{name}.1.log").read_bytes()).hexdigest()
        assert digest.hexdigest() == logged == project.read(f"{name}.digest")


@needs_proc
@pytest.mark.parametrize("output", ["stream", "group"])
def test_b17_memory_stays_bounded_while_100_mb_of_lines_go_through(project, output):
    project.tasks(PEAK + as_task("big", writes("lines", 100), finally_=["peak"]) + BESIDE)
    project.sh(f"taskrun run --output {output} big b | wc -c >size").succeeds()
    assert peak_mb(project) < 80
    assert size_of_log(project, "big") == 100_000_000
    assert int(project.read("size")) >= 100_000_000


def test_b18_invalid_utf_8_and_a_character_that_comes_in_two_reads(project, oracle):
    """The task waits until its first half is in the log, which is written before anything is shown."""
    oracle.excuse("O5", "the record leaves out the events of output that are numbered with the others")
    code = """
def put(data):
    os.write(1, data)
    put.size += len(data)
    log = '.taskrun/runs/%s/logs/a.1.log' % os.environ['TASKRUN_RUN']
    until = time.monotonic() + 20
    while time.monotonic() < until and not (os.path.exists(log) and os.path.getsize(log) == put.size): time.sleep(0.01)
put.size = 0
for half in (b'caf\\xc3', b'\\xa9 \\xff\\xfe \\xe2\\x82', b'\\xac|\\xc3', b'(\\n'): put(half)
"""
    project.tasks(as_task("a", python(code)) + BESIDE)
    shown = "café \ufffd\ufffd €|\ufffd("
    for encoding in ({}, {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}):
        finished = project.taskrun("run", "a", "b", env=encoding).succeeds()
        assert finished.out == f"a | {shown}\n".encode()
    events = project.taskrun("run", "--events", "-", "--output", "stream", "a").succeeds().json_lines()
    assert "".join(event["text"] for event in events if event["event"] == "task.output") == f"{shown}\n"
    assert project.taskrun("logs", "a").succeeds().out == b"caf\xc3\xa9 \xff\xfe \xe2\x82\xac|\xc3(\n"


def test_b19_bars_that_rewrite_their_line_are_shown_at_their_last_state(project, oracle):
    written = b"bar  10%\rbar  50%\rbar 100%\ncount 1\b2\n"
    project.tasks(as_task("a", python(f"os.write(1, {written!r})")) + BESIDE)
    project.taskrun("run", "a", "b").succeeds().prints_exactly("a | bar 100%\na | count 2\n")
    oracle.expect_log("a", written)


OBEYED = (b"\x1b[2J", b"\x1b]0;title\x07", b"\x1b[?25l", b"\x1b[H", b"\x07", b"\x1b[?1049h", b"\x1bc", b"\x1b(0")


@pytest.mark.parametrize(
    "words",
    [("a",), ("a", "--ui", "plain"), ("-q", "a"), ("--output", "stream", "*"), ("--output", "group", "*")],
    ids=" ".join,
)
def test_b19_control_sequences_reach_a_terminal_as_colours_at_most(project, oracle, words):
    """Also those of the one task named, and also where nothing is drawn: a cursor that it hides would stay hidden."""
    written = b"\x1b[31m" + b"".join(b"%d%s" % each for each in enumerate(OBEYED)) + b"\n"
    project.tasks(as_task("a", python(f"os.write(1, {written!r}); time.sleep(0.6)")) + as_task("b", ("sleep", "0.6")))
    with project.terminal("run", *words) as terminal:
        terminal.finish().succeeds().prints("01234567")
        label, _red, rest = terminal.raw.partition(b"\x1b[31m")
        assert rest.startswith(b"01234567\x1b[0m\r\n"), "the colour runs on into what others write"
        without_our_own = (label + rest).replace(b"\x1b[?25l\r", b"")
        assert [sequence for sequence in OBEYED if sequence in without_our_own] == []
    oracle.expect_log("a", written)


@needs_proc
def test_b21_a_task_that_closes_its_output_is_waited_for_without_spinning(project, oracle):
    project.tasks(
        as_task("a", ("sh", "-c", "exec >&- 2>&-; : > up; until [ -e go ]; do sleep 0.05; done; : > finished"))
    )
    running = project.start("run", "a")
    runs.wait_for_files(project, "up")
    pids = [running.pid, runs.named(running.pid, runs.HOST)]
    before = sum(map(cpu_seconds, pids))
    time.sleep(1.0)  # what is measured is what they do in it
    spent = sum(map(cpu_seconds, pids)) - before
    project.write("go", "")
    running.finish().succeeds()
    assert spent < 0.3
    assert (project.path / "finished").exists()
    assert runs.ends(project)["a"]["elapsed"] >= 1.0
    oracle.expect_log("a", b"")


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@needs_proc
def test_b22_what_is_still_in_the_pipes_when_tasks_end_is_read(project):
    """The runner is stopped until the pipes of many are full and they have ended; then it hears of all at once."""
    count, written = 50, bytes(range(256)) * 256
    project.write("data", written)
    os.mkfifo(project.path / "go")
    project.tasks(f"""
        [run]
        jobs = {count}
        [tasks.a]
        foreach.n = {{ range = [1, {count}] }}
        shell = "read line < go; exec cat data"
    """)
    running = project.start("run", "-q", "a", "--output", "none")
    started = runs.wait_started(project, count)
    running.signal(signal.SIGSTOP)
    go = os.open(project.path / "go", os.O_RDWR)
    os.write(go, b"go\n" * count)
    runs.wait_until(lambda: not any(map(state_of, started.values())), "all tasks have ended, and were reaped")
    os.close(go)
    running.signal(signal.SIGCONT)
    running.finish().succeeds()
    logs = [path for path in (runs.folder(project) / "logs").iterdir() if path.suffix == ".log"]
    assert [path.read_bytes() == written for path in logs] == [True] * count


def test_b23_what_a_task_had_written_when_it_was_killed_is_kept(project):
    """It counts what it has written in a file that outlives it, and writes as fast as it can until it is killed."""
    code = """
import mmap, struct
signal.signal(15, signal.SIG_IGN)
counter = mmap.mmap(os.open('count', os.O_RDWR), 8)
total = 0
while True:
    total += os.write(1, b''.join(struct.pack('>Q', n) for n in range(total // 8, total // 8 + 8192)))
    counter[:] = struct.pack('>Q', total)
"""
    project.write("count", bytes(8))
    project.tasks(as_task("a", python(code), timeout="300ms", grace="200ms"))
    project.sh("taskrun run a | { sleep 0.2; cat >/dev/null; }").exits(124)
    (counted,) = struct.unpack(">Q", (project.path / "count").read_bytes())
    logged = (runs.folder(project) / "logs" / "a.1.log").read_bytes()
    notes = logged.find(b"taskrun: timeout")  # what it was doing, among what it wrote
    end = logged.find(b"\n  system call", notes)
    end = logged.find(b"\n", end + 1) + 1
    own = logged[:notes] + logged[end:] if notes >= 0 else logged
    assert len(own) >= counted
    numbers = struct.unpack(f">{len(own) // 8}Q", own[: len(own) // 8 * 8])
    assert numbers == tuple(range(len(numbers)))


def test_b24_a_task_that_makes_its_streams_nonblocking_changes_its_own_alone(project, oracle):
    code = "[os.set_blocking(fd, False) for fd in (0, 1, 2)]; print('mine')"
    project.tasks(as_task("a", python(code)))
    flags = "import os; print([os.get_blocking(fd) for fd in (0, 1, 2)])"
    project.sh(f'taskrun run a && python3 -c "{flags}"').succeeds().prints_exactly("mine\n[True, True, True]\n")
    with project.terminal("run", "a") as terminal:
        terminal.finish().succeeds()
    oracle.expect_log("a", b"mine\n")


def test_b24_a_task_that_shares_our_stdin_may_make_even_that_nonblocking(project):
    """At a terminal that is our stdout too."""
    code = "os.set_blocking(0, False)\nfor n in range(20000): print('line', n)"
    project.tasks(as_task("a", python(code), stdin="-"))
    with project.terminal("run", "a") as terminal:
        terminal.finish().succeeds()
        assert re.findall(r"^line (\d+)$", terminal.text, re.MULTILINE) == [str(n) for n in range(20000)]
    with project.terminal(argv=("sh", "-c", "taskrun run -q a >/dev/null; cat /proc/self/fdinfo/0")) as terminal:
        flags = re.search(r"flags:\s*(\d+)", terminal.finish().succeeds().stdout)
        assert not int(flags[1], 8) & os.O_NONBLOCK


def test_b25_stdin_is_empty_and_keys_are_left_to_the_shell(project):
    project.tasks(as_task("a", ("sh", "-c", "cat; echo read all; : > up; until [ -e go ]; do sleep 0.02; done")))
    with project.terminal("run", "a") as terminal:
        terminal.expect("read all")
        terminal.press("typed\n")
        project.write("go", "")
        terminal.finish().succeeds()
        assert terminal.text.count("typed") <= 1  # the terminal's own echo


def test_b26_the_terminal_is_out_of_a_tasks_reach(project, oracle):
    oracle.bound = 40
    ask = ("sh", "-c", "stty -echo; (: </dev/tty); exec python3 -c 'import getpass; getpass.getpass()'")
    project.tasks(as_task("a", ask))
    with project.terminal("run", "a") as terminal:
        terminal.finish().exits(1)
        assert "/dev/tty: No such device or address" in terminal.text
        assert "EOFError" in terminal.text


def test_b27_an_interactive_shell_in_a_task_takes_no_terminal_away(project):
    project.tasks(as_task("a", ("bash", "--norc", "-ic", "echo $-; sleep 0.1 & wait; echo over")))
    with project.terminal(
        argv=("bash", "--norc", "--noprofile", "--noediting", "-i"), env={"PS1": "READY> "}
    ) as terminal:
        terminal.expect("READY> ")
        terminal.press("taskrun run a\n")
        terminal.expect("over")
        terminal.expect("READY> ")
        terminal.press("echo again; jobs; exit\n")
        terminal.finish().exits(0)
        assert "Stopped" not in terminal.text
        assert "suspended" not in terminal.text
