"""Python tasks that end in every way there is: rows C1 to C22. Each is told for what it was, and costs nobody else."""

from __future__ import annotations

import json
import signal

import pytest
from support import runs
from support.project import pids_of

CALLS = """
import atexit, ctypes, multiprocessing, os, signal, subprocess, sys, threading, time
from itertools import repeat

import taskrun

class Two(OSError):
    def __init__(self, first, second):
        super().__init__(first)

class Hostile(BaseException):
    def __str__(self):
        raise RuntimeError("not even this works")
    __repr__ = __str__

def segfault():
    print("before", flush=True)
    ctypes.string_at(0)

def leave(code):
    print("lost, since nothing is flushed", end="")
    os._exit(code)

def sys_exit(code):
    sys.exit(code)

def with_a_cause():
    try:
        int("x")
    except ValueError as error:
        error.add_note("a note")
        raise LookupError("two\\nlines") from error

def interrupt_itself():
    raise KeyboardInterrupt

def end_of_a_generator():
    raise GeneratorExit("odd")

def hostile():
    raise Hostile

def two():
    raise Two("one", "two")

def unencodable():
    return {"a": [1, lambda: 0]}

def large(mib):
    return "x" * (mib << 20)

def in_c():
    sum(repeat(1, 10**14))

def block_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(61.25)

def swallow():
    while True:
        try:
            time.sleep(61.25)
        except BaseException as error:
            print("swallowed", type(error).__name__, flush=True)

def deep():
    deep()

def nested():
    value = []
    for _ in range(100_000):
        value = [value]
    return value

def deep_message():
    raise ValueError(nested())

def stack_of_c():
    ctypes.CDLL(None).regcomp(ctypes.create_string_buffer(1024), b"(" * 10**6 + b")" * 10**6, 1)

def without_memory():
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
    held = []
    while True:
        held.append(bytearray(20_000_000))

def threads():
    for name in ("one", "two"):
        threading.Thread(target=time.sleep, args=(61.25,), name=name).start()
    return "done"

def child():
    subprocess.Popen(["sleep", "66.25"])
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(61.25,)).start()
    return "done"

def unflushed():
    sys.stdout.write("no end of line")
    sys.stderr.write("here neither")
    ctypes.CDLL(None).printf(b" from C")
    return "done"

def print_and_die():
    print("a whole line")
    os.kill(os.getpid(), signal.SIGKILL)

def exit_functions():
    atexit.register(print, "mine")
    return "done"

def close_all():
    os.closerange(3, 999)
    return "nobody hears this"

def close_all_and_stay():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        os.setsid()
    except PermissionError:
        print("leads its session already", flush=True)
    os.closerange(3, 999)
    time.sleep(61.25)

def pool(method):
    with multiprocessing.get_context(method).Pool(2) as workers:
        return workers.map(abs, [-1, -2])
"""
QUICK = ("timeout = '300ms'", "grace = '300ms'")


everywhere = pytest.mark.parametrize("pool", [None, "p"], ids=["alone", "in a pool"])


def call(project, target, *lines, words=(), pool=None, **arguments):
    """Runs a task that calls one of them; returns its `task.end` and the finished command."""
    project.write("calls.py", CALLS)
    args = f"args = {{ {', '.join(f'{name} = {json.dumps(value)}' for name, value in arguments.items())} }}"
    first = [] if pool is None else [f"[pools.{pool}]", f"[defaults]\npool = '{pool}'"]
    project.tasks("\n".join([*first, "[tasks.a]", f"python = 'calls:{target}'", args, *lines]))
    finished = project.taskrun("run", "a", *words)
    return runs.ends(project)["a"], finished


def log_of(project):
    return project.taskrun("logs", "a").succeeds().stdout


def test_c1_a_segfault_shows_where_it_happened_and_not_our_own_frames(project):
    end, finished = call(project, "segfault", words=("--exit-code", "task"))
    assert (end["signal"], end["reason"].removesuffix(" (core dumped)")) == (signal.SIGSEGV, "killed by SIGSEGV")
    finished.exits(128 + signal.SIGSEGV)
    block = finished.stderr[finished.stderr.index("FAIL  a  killed by SIGSEGV") :]
    assert "| before\n" in block
    assert f'"{project.path}/calls.py", line ' in block
    assert "in segfault" in block
    assert "taskrun/host/" not in block


@pytest.mark.parametrize("code", [0, 7])
def test_c2_c3_an_exit_behind_our_back_is_never_a_success(project, code):
    end, finished = call(project, "leave", words=("--exit-code", "task"), code=code)
    assert (end["state"], end["exit_code"]) == ("failed", code)
    assert end["reason"] == f"exited ({code}) before returning a result"
    finished.exits(code or 1).prints_exactly("")


@everywhere
@pytest.mark.parametrize(
    ("code", "state", "status", "reason"),
    [(3, "failed", 3, "exit 3"), ("bye", "failed", 1, "bye"), (None, "succeeded", 0, ""), (0, "succeeded", 0, "")],
)
def test_c4_sys_exit_counts_as_in_any_program(project, code, state, status, reason, pool):  # noqa: PLR0917 - a table
    argument = {} if code is None else {"code": code}
    end, finished = call(
        project, "sys_exit" if argument else "sys.exit", words=("--exit-code", "task"), pool=pool, **argument
    )
    assert (end["state"], end["exit_code"], end["reason"]) == (state, status, reason)
    finished.exits(status).never_says("Traceback")
    assert code == "bye" or end["log"] is None, "it said nothing, and where it left helps nobody"


def test_c5_a_traceback_has_the_users_frames_alone_and_its_causes(project):
    end, finished = call(project, "with_a_cause")
    finished.exits(1).says("FAIL  a  LookupError: two")
    lines = [line for line in end["detail"].splitlines() if "^" not in line]
    numbers = [number for number, line in enumerate(CALLS.split("\n"), 0) if 'int("x")' in line or "raise Look" in line]
    assert lines == [
        "Traceback (most recent call last):",
        f'  File "{project.path}/calls.py", line {numbers[0]}, in with_a_cause',
        '    int("x")',
        "ValueError: invalid literal for int() with base 10: 'x'",
        "a note",
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        "Traceback (most recent call last):",
        f'  File "{project.path}/calls.py", line {numbers[1]}, in with_a_cause',
        '    raise LookupError("two\\nlines") from error',
        "LookupError: two",
        "lines",
    ]


@everywhere
@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("interrupt_itself", "KeyboardInterrupt"),
        ("end_of_a_generator", "GeneratorExit: odd"),
        ("hostile", "Hostile (its message cannot be shown)"),
    ],
)
def test_c6_exceptions_that_are_no_errors_are_failures_and_no_interrupts(project, target, reason, pool):
    end, finished = call(project, target, pool=pool)
    assert (end["state"], end["reason"]) == ("failed", reason)
    finished.exits(1)


@everywhere
def test_c7_an_exception_that_could_not_be_unpickled_is_told(project, pool):
    end, _finished = call(project, "two", pool=pool)
    assert end["reason"] == "Two: one"


@everywhere
def test_c8_a_result_that_cannot_be_sent_says_where_in_it_and_why(project, pool):
    end, finished = call(project, "unencodable", pool=pool)
    why = "`result.a[1]` is of type `function`, which JSON cannot hold"
    assert end["reason"] == f"its result cannot be sent back: {why}"
    finished.exits(1)


def test_c9_a_large_result_arrives_and_one_beyond_the_limit_is_refused(project):
    end, _finished = call(project, "large", mib=8)
    assert len(end["result"]) == 8 << 20
    end, finished = call(project, "large", mib=65)
    assert "65 MiB as JSON, the limit is 64 MiB; write it to a file" in end["reason"]
    finished.exits(1)


def test_c10_a_call_that_loops_in_c_leaves_its_stack_and_is_killed(project):
    end, finished = call(project, "in_c", *QUICK)
    assert end["reason"] == "timed out after 300ms, did not stop and was killed"
    finished.exits(124)
    assert "in in_c" in log_of(project)


def test_c11_a_call_that_blocks_all_signals_is_killed(project):
    end, finished = call(project, "block_signals", *QUICK)
    assert (end["signal"], end["reason"]) == (9, "timed out after 300ms, did not stop and was killed")
    finished.exits(124)


def test_c12_a_call_that_swallows_every_exception_is_asked_once_and_killed(project):
    end, finished = call(project, "swallow", *QUICK)
    assert (end["signal"], end["reason"]) == (9, "timed out after 300ms, did not stop and was killed")
    finished.exits(124)
    assert log_of(project).count("swallowed Cancelled") == 1


@everywhere
@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("deep", "RecursionError: maximum recursion depth exceeded"),
        ("nested", "its result cannot be sent back: it is nested too deeply, or contains itself"),
        ("deep_message", "ValueError"),
        ("stack_of_c", "killed by SIGSEGV"),
    ],
)
def test_c13_what_is_too_deep_for_python_or_for_c_fails_its_own_task(project, target, reason, pool):
    end, finished = call(project, target, pool=pool)
    assert end["state"] == "failed"
    assert end["reason"].startswith(reason)
    finished.exits(1)


@everywhere
def test_c14_a_call_without_memory_is_a_memory_error(project, pool):
    end, finished = call(project, "without_memory", pool=pool)
    assert end["reason"] == "MemoryError"
    finished.exits(1)
    assert "in without_memory" in end["detail"]


def test_c15_threads_that_are_left_are_named_and_not_waited_for(project, oracle):
    oracle.bound = 40
    end, finished = call(project, "threads")
    assert end["result"] == "done"
    finished.succeeds().says("WARN  a  2 threads still running: one, two")


def test_c16_children_that_are_left_are_killed_and_named(project, oracle):
    oracle.bound = 40
    end, finished = call(project, "child")
    assert end["result"] == "done"
    finished.succeeds().says("left 2 processes behind (")
    assert max(left["command"] for left in end["leaked"]) == "sleep 66.25"
    assert pids_of("66.25") == []


def test_c17_what_was_printed_is_flushed_once(project, oracle):
    end, finished = call(project, "unflushed")
    assert (end["result"], finished.stderr.count("here neither")) == ("done", 1)
    assert finished.stdout in {"no end of line from C", " from Cno end of line"}
    _end, finished = call(project, "print_and_die")
    finished.exits(1).prints_exactly("a whole line\n")
    oracle.expect_log("a", b"a whole line\n")


def test_c18_a_tasks_own_exit_functions_run_and_no_others(project):
    project.write("calls.py", CALLS)
    project.write(
        "more.py", "import atexit\natexit.register(print, 'of the module')\nfrom calls import exit_functions\n"
    )
    project.tasks("[tasks.a]\npython = 'more:exit_functions'\n")
    project.taskrun("run", "a").succeeds().prints_exactly("mine\n")


@pytest.mark.parametrize(
    ("text", "place"),
    [("import os\nimport no_such_thing\n", "broken.py:2"), ("import os\ndef call(:\n", "broken.py:2")],
)
def test_c19_a_module_that_cannot_be_imported_is_told_before_anything_starts(project, text, place):
    project.write("broken.py", text)
    project.tasks("[tasks.a]\npython = 'broken:call'\n[tasks.b]\nrun = ['touch', 'started']\n")
    for words in (("run", "b", "a"), ("check",)):
        finished = project.taskrun(*words).exits(2).never_says("Traceback")
        assert place in finished.stdout + finished.stderr
    assert not (project.path / "started").exists()


@everywhere
def test_c20_a_call_that_closes_its_channel_is_heard_by_nobody_and_hangs_nothing(project, pool):
    end, finished = call(project, "close_all", pool=pool)
    assert (end["state"], end["reason"]) == ("failed", "exited (1) before returning a result")
    finished.exits(1)
    assert "closed its channel to the runner (descriptor 3): its result is lost" in log_of(project)
    end, finished = call(project, "close_all_and_stay", *QUICK, pool=pool)
    assert (end["signal"], end["reason"]) == (9, "timed out after 300ms, did not stop and was killed")
    finished.exits(124)
    assert "leads its session already" in log_of(project)


def test_c21_a_module_that_leaves_a_thread_is_imported_anew_for_each_task(project):
    project.write(
        "leaves.py",
        """
        import os, threading, time
        thread = threading.Thread(target=time.sleep, args=(61.25,), daemon=True)
        thread.start()
        home = os.getpid()
        def call():
            return [home == os.getpid(), thread.is_alive(), threading.active_count()]
    """,
    )
    project.write("plain.py", "import os\nhome = os.getpid()\ndef call():\n    return home == os.getpid()\n")
    project.tasks(
        "[tasks.a]\nforeach.n = { range = [1, 3] }\npython = 'leaves:call'\n[tasks.b]\npython = 'plain:call'\n"
    )
    finished = project.taskrun("run", "a", "b").succeeds().never_says("DeprecationWarning", "Traceback")
    ends = runs.ends(project)
    assert [ends[f"a[n={n}]"]["result"] for n in (1, 2, 3)] == [[True, True, 2]] * 3
    assert ends["b"]["result"] is False, "forked from where it was imported"
    finished.says("warning: module `leaves` leaves 1 thread running: Thread-1 (sleep): it is imported anew for each")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_c22_multiprocessing_works_in_a_call_whatever_its_way_to_start(project, oracle, method):
    oracle.adopts("python")  # its resource tracker
    end, finished = call(project, "pool", method=method)
    finished.succeeds()
    assert end["result"] == [1, 2]
