"""Workers as real processes: each way in which a call can end, and what a worker is made of."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from support.census import wait_until
from support.fake_host import FakeHost, Refused, children, wait

from taskrun.worker import wire

TASKS = """
import atexit, ctypes, os, signal, sys, threading, time
from enum import Enum
from pathlib import Path
import taskrun

COUNT = []
print("imported", flush=True)
sys.stdout.write("left in a buffer")
os.environ["SET_AT_IMPORT"] = "yes"
atexit.register(lambda: print("exit function of the module"))

class Colour(Enum):
    RED = "red"

class Two(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")

class Hostile(Exception):
    def __str__(self):
        raise RuntimeError("no text for you")
    __repr__ = __str__

def add(a: int, b: int = 2):
    return a + b

def surroundings():
    return {
        "fds": sorted(int(n) for n in os.listdir("/proc/self/fd")),
        "links": [os.readlink(f"/proc/self/fd/{n}") for n in range(3)],
        "proc": open("/proc/self/environ", "rb").read().split(b"\\0")[0].decode(),
        "env": dict(os.environ), "libc": libc_environment(), "parent": os.getppid(), "leads": os.getsid(0) == os.getpid(),
        "cwd": os.getcwd(), "argv": sys.argv, "main": sorted(vars(sys.modules["__main__"])),
        "signals": {s.name: str(signal.getsignal(s)) for s in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGUSR2)},
        "mask": len(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "threads": len(os.listdir("/proc/self/task")),
    }

def libc_environment():
    import subprocess
    return subprocess.run(["env"], capture_output=True, text=True).stdout.split("\\n")

def draw():
    import random
    return random.random()

def segfault(): ctypes.string_at(0)
def exit_at_once(code: int): os._exit(code)
def leave(code=None): sys.exit(code)
def leave_with_text(): sys.exit("bye")
def fail_with_cause():
    try:
        {}["key"]
    except KeyError as error:
        error.add_note("a note")
        raise ValueError("outer") from error
def raise_two(): raise Two(1, 2)
def raise_hostile(): raise Hostile
def raise_base(): raise GeneratorExit("odd")
def raise_interrupt(): raise KeyboardInterrupt
def raise_huge(): raise ValueError("x" * 10_000_000)
def raise_group(): raise ExceptionGroup("several", [ValueError("one"), OSError(2, "two")])
def recurse(): recurse()
def grow():
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))
    held = []
    while True:
        held.append("x" * 20_000)
def a_lambda(): return {"parts": [1, {"f": lambda: 0}]}
def own_circle():
    value = []
    value.append(value)
    return value
def big(mib: int): return "x" * (mib << 20)
def leave_thread():
    threading.Thread(target=time.sleep, args=(100,), name="sleeper").start()
    return 1
def leave_child():
    import multiprocessing
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(100,))
    process.start()
    return process.pid
def use_pool():
    import multiprocessing
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(abs, [-1, -2])
def child_reports():
    pid = os.fork()
    if pid == 0:
        taskrun.progress(99, 100)
        taskrun.status("from the child")
        taskrun.checkpoint(1)
        os._exit(7 if taskrun.time_left() is None and taskrun.restored() is None and not taskrun.cancelled() else 8)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def child_comes_back(how):
    pid = os.fork()
    if pid == 0:
        if how == "raise":
            raise ValueError("in the child")
        if how == "exit":
            sys.exit(3)
        return "of the child"
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def print_unflushed():
    sys.stdout.write("no end of line")
    ctypes.CDLL(None).printf(b"from C\\n")
def print_then_die():
    print("a whole line")
    os.kill(os.getpid(), signal.SIGKILL)
def print_odd(): print("caf\\u00e9 \\udc80")
def exit_functions():
    import weakref
    atexit.register(print, "mine")
    weakref.finalize(taskrun.progress, print, "finalized")
    return "done"
def failing_exit_function():
    atexit.register(lambda: 1 / 0)
    return "done"
def close_all():
    os.closerange(3, 999)
    return "nobody hears this"
def replace_channel():
    os.closerange(3, 999)
    with open("stolen.txt", "wb", buffering=0) as file:
        assert file.fileno() == 3
        taskrun.progress(1, 2)
        taskrun.status("x")
        return "into a file?"
def ignore_everything():
    for number in (1, 2, 15):
        signal.signal(number, signal.SIG_IGN)
    os.setsid() if os.getsid(0) != os.getpid() else None
    return signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
async def coroutine(): return 1
def hands_out_a_coroutine(): return coroutine()
def generator(): yield 1
def paths(path: Path, colour: Colour): return [type(path).__name__, path, colour]
def retry(after=None): raise taskrun.Retry(after)
def fail(): raise taskrun.Fail("no such film")
def fail_at_length(): raise taskrun.Fail("no such film" + chr(10) + "looked in a and b")
def retry_after_error():
    try:
        1 / 0
    except ZeroDivisionError as error:
        raise taskrun.Retry(reason="later") from error
def wait_in_c():
    from itertools import repeat
    print("begun", flush=True)
    sum(repeat(1, 10**13))
def wait_in_python():
    print("begun", flush=True)
    time.sleep(100)
def wait_and_clean():
    try:
        print("begun", flush=True)
        time.sleep(100)
    except taskrun.Cancelled:
        print("cleaned")
        raise
def wait_and_return():
    try:
        print("begun", flush=True)
        time.sleep(100)
    except taskrun.Cancelled:
        return "caught"
def ask():
    taskrun.cancelled()
    print("begun", flush=True)
    while not taskrun.cancelled():
        time.sleep(0.01)
    return "asked"
def swallow():
    while True:
        try:
            print("begun", flush=True)
            time.sleep(100)
        except BaseException:
            print("swallowed", flush=True)
def terminate_child():
    import multiprocessing
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(100,))
    process.start()
    process.terminate()
    process.join(10)
    return process.exitcode
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "tasks.py").write_text(TASKS)
    with FakeHost(folder, env={"FROM_HOST": "1"}) as host:
        reply = host.inspect(wire.CallSite(id=0, target="tasks:add", args=(1,)))
        assert reply.modules["tasks"].error is None, reply.modules["tasks"]
        assert not reply.modules["tasks"].unclean
        yield host
        host.close()
    assert not children()


def test_a_call_returns_its_value_and_nothing_of_the_templates_output(host):
    worker = host.run("tasks:add", 1, b=4)
    assert worker.result == 5
    assert worker.messages == [wire.Started(), wire.Result(value=b"5")]
    assert (worker.out, worker.err, worker.status) == ("", "", 0)
    assert host.log_text().count("left in a buffer") == 1


def test_a_worker_has_its_descriptors_its_environment_and_its_mark_and_no_more(host):
    worker = host.fork(env={"A": "1", "PATH": os.environ["PATH"]}, mark="m-17", cwd="/")
    worker.tell(wire.Call(target="tasks:surroundings"))
    seen = worker.finish().result
    assert seen["fds"] == [0, 1, 2, 3, 4]  # 4 is the one that lists them
    assert seen["links"][0] == "/dev/null"
    assert seen["proc"] == "TASKRUN_MARK=m-17"
    assert seen["env"] == {
        "A": "1", "PATH": os.environ["PATH"], "TASKRUN_MARK": "m-17", "SET_AT_IMPORT": "yes",
    }  # fmt: skip
    libc = dict(line.split("=", 1) for line in seen["libc"] if line)
    assert {name: libc[name] for name in seen["env"]} == seen["env"]
    assert "FROM_HOST" not in libc
    assert seen["parent"] == os.getpid()
    assert seen["leads"]
    assert seen["cwd"] == "/"
    assert seen["argv"] == ["taskrun"]
    assert "__file__" not in seen["main"]
    assert seen["signals"] == {"SIGPIPE": "1", "SIGCHLD": "0", "SIGUSR2": "0"}
    assert (seen["mask"], seen["threads"]) == (0, 1)


def test_what_a_module_set_at_import_yields_to_the_callers_own_value(host):
    worker = host.fork(env={"SET_AT_IMPORT": "mine"})
    worker.tell(wire.Call(target="tasks:surroundings"))
    assert worker.finish().result["env"]["SET_AT_IMPORT"] == "mine"


def test_stdin_is_what_was_given(host, tmp_path):
    (tmp_path / "input").write_text("some input")
    (Path(host.folder) / "reader.py").write_text("import sys\ndef read(): return sys.stdin.read()\n")
    fd = os.open(tmp_path / "input", os.O_RDONLY)
    worker = host.fork(stdin=fd)
    os.close(fd)
    worker.tell(wire.Call(target="reader:read"))
    assert worker.finish().result == "some input"


def test_workers_draw_different_random_numbers(host):
    assert len({host.run("tasks:draw").result for _ in range(3)}) == 3


def test_a_worker_whose_call_never_comes_leaves_quietly(host):
    worker = host.fork()
    worker.channel.close()
    assert wait(worker.pid) == 0
    for pipe in worker._pipes:
        assert os.read(pipe, 100) == b""
        os.close(pipe)


def test_a_folder_that_is_not_there_is_refused_with_its_errno(host):
    with pytest.raises(Refused) as refused:
        host.fork(cwd="/nowhere")
    assert refused.value.args == (2, "No such file or directory")
    assert host.run("tasks:add", 1).result == 3


def test_c1_a_segfault_shows_a_python_stack(host):
    worker = host.run("tasks:segfault")
    assert worker.status == -signal.SIGSEGV
    assert worker.messages == [wire.Started()]
    assert "in segfault" in worker.err


@pytest.mark.parametrize("code", [0, 7])
def test_c2_c3_an_exit_behind_our_back_gives_no_result(host, code):
    worker = host.run("tasks:exit_at_once", code)
    assert (worker.status, worker.messages) == (code, [wire.Started()])


def test_c4_sys_exit_counts_as_in_any_program(host):
    assert host.run("tasks:leave").result is None
    assert host.run("tasks:leave", 0).result is None
    worker = host.run("tasks:leave", 3)
    assert (worker.failure.kind, worker.failure.code, worker.status) == ("exit", 3, 3)
    assert host.run("tasks:leave", 256 + 5).status == 5
    worker = host.run("tasks:leave_with_text")
    assert (worker.failure.kind, worker.failure.code, worker.failure.message) == ("exit", 1, "bye")
    assert (worker.status, worker.err) == (1, "bye\n")


def test_c5_a_failure_has_the_tasks_own_frames_its_cause_and_its_notes(host):
    worker = host.run("tasks:fail_with_cause")
    failure = worker.failure
    assert (failure.kind, failure.message, worker.status) == ("exception", "outer", 1)
    assert failure.type_names == ("ValueError", "builtins.ValueError", "Exception", "builtins.Exception")
    assert failure.traceback.startswith("Traceback (most recent call last):\n")
    assert "KeyError: 'key'\na note\n" in failure.traceback
    assert "direct cause" in failure.traceback
    assert "taskrun/worker" not in failure.traceback
    assert failure.file.endswith("tasks.py")
    assert 'raise ValueError("outer") from error' in failure.traceback


def test_c6_base_exceptions_are_failures_like_others(host):
    assert host.run("tasks:raise_base").failure.type_names == ("GeneratorExit", "builtins.GeneratorExit")
    failure = host.run("tasks:raise_interrupt").failure
    assert failure.kind == "exception"
    assert failure.message == "KeyboardInterrupt()"


def test_c7_exceptions_with_odd_classes_are_told_and_not_pickled(host):
    failure = host.run("tasks:raise_two").failure
    assert failure.message == "1 and 2"
    assert failure.type_names[:2] == ("Two", "tasks.Two")
    failure = host.run("tasks:raise_hostile").failure
    assert failure.message == "Hostile (its message cannot be shown)"
    assert "raise Hostile" in failure.traceback
    failure = host.run("tasks:raise_huge").failure
    assert len(failure.message) < 70_000
    assert "characters left out" in failure.message
    failure = host.run("tasks:raise_group").failure
    assert "FileNotFoundError: [Errno 2] two" in failure.traceback


def test_c8_a_result_that_is_not_json_says_where(host):
    failure = host.run("tasks:a_lambda").failure
    assert failure.kind == "result"
    assert failure.message == (
        "its result cannot be sent back: `result.parts[1].f` is of type `function`, which JSON cannot hold"
    )
    assert "contains itself" in host.run("tasks:own_circle").failure.message


def test_c9_a_result_of_many_megabytes_arrives_and_one_beyond_the_limit_is_refused(host):
    assert len(host.run("tasks:big", 32).result) == 32 << 20
    worker = host.run("tasks:big", 80)
    assert "80 MiB as JSON, the limit is 64 MiB" in worker.failure.message


def test_c10_a_worker_stuck_in_c_shows_its_stack_and_is_killed(host):
    worker = host.call("tasks:wait_in_c")
    worker.says("begun")
    worker.computes()
    worker.signal(signal.SIGTERM)
    worker.signal(signal.SIGUSR1)
    while "in wait_in_c" not in worker.err:
        next(worker._read())
        worker._take(worker._err)
    worker.signal(signal.SIGKILL)
    assert worker.finish().status == -signal.SIGKILL


def test_c12_a_task_that_swallows_the_stop_is_asked_once_and_can_be_killed(host):
    worker = host.call("tasks:swallow")
    worker.says("begun")
    worker.sleeps()
    worker.signal(signal.SIGTERM)
    worker.says("swallowed")
    worker.signal(signal.SIGTERM)
    worker.signal(signal.SIGINT)
    time.sleep(0.1)  # for a second exception to show, if there were one
    worker.signal(signal.SIGKILL)
    worker.finish()
    assert worker.out.count("swallowed") == 1


def test_c13_endless_recursion_is_a_failure(host):
    failure = host.run("tasks:recurse").failure
    assert failure.type_names[0] == "RecursionError"
    assert "Previous line repeated" in failure.traceback


def test_c14_no_memory_is_a_failure(host):
    assert host.run("tasks:grow").failure.type_names[0] == "MemoryError"


def test_c15_threads_left_are_named_and_not_waited_for(host):
    started = time.monotonic()
    worker = host.run("tasks:leave_thread")
    assert time.monotonic() - started < 20
    assert worker.of(wire.Message) == [wire.Message(level="warning", text="1 thread still running: sleeper")]
    assert worker.result == 1


def test_c16_children_left_are_not_waited_for(host):
    started = time.monotonic()
    worker = host.run("tasks:leave_child")
    assert time.monotonic() - started < 20
    os.kill(worker.result, signal.SIGKILL)
    assert wait(worker.result) == -signal.SIGKILL


def test_multiprocessing_works_in_a_task(host):
    assert host.run("tasks:use_pool").result == [1, 2]
    assert host.run("tasks:terminate_child").result == -signal.SIGTERM


def test_a_process_that_a_task_forks_never_writes_to_its_channel(host):
    worker = host.run("tasks:child_reports")
    assert worker.result == 7
    assert worker.messages == [wire.Started(), wire.Result(value=b"7")]


@pytest.mark.parametrize(("how", "status"), [("return", 0), ("raise", 1), ("exit", 3)])
def test_a_process_that_comes_back_from_a_fork_answers_for_nobody(host, how, status):
    worker = host.run("tasks:child_comes_back", how)
    assert worker.messages == [wire.Started(), wire.Result(value=str(status).encode())]
    assert ("ValueError: in the child" in worker.err) == (how == "raise")


def test_c17_what_was_printed_is_flushed_once(host):
    worker = host.run("tasks:print_unflushed")
    assert sorted(worker.out.replace("from C\n", "from C\n|").split("|")) == ["from C\n", "no end of line"] or (
        worker.out == "no end of linefrom C\n"
    )
    worker = host.run("tasks:print_then_die")
    assert (worker.out, worker.status) == ("a whole line\n", -signal.SIGKILL)
    assert host.run("tasks:print_odd").out == "caf\u00e9 \\udc80\n"


def test_c18_a_tasks_own_exit_functions_run_and_no_others(host):
    worker = host.run("tasks:exit_functions")
    assert worker.out == "finalized\nmine\n"
    worker = host.run("tasks:failing_exit_function")
    assert worker.result == "done"
    assert "ZeroDivisionError" in worker.err


def test_c19_a_module_that_does_not_import_names_file_and_line(host):
    (Path(host.folder) / "broken.py").write_text("import os\n\nimport no_such_thing\n")
    (Path(host.folder) / "syntax.py").write_text("def f(:\n    pass\n")
    (Path(host.folder) / "exits.py").write_text("import sys\nsys.exit(3)\n")
    failure = host.run("broken:f").failure
    assert (failure.kind, failure.line) == ("import", 3)
    assert failure.file.endswith("broken.py")
    assert failure.message == ("importing `broken` failed: ModuleNotFoundError: No module named 'no_such_thing'")
    failure = host.run("syntax:f").failure
    assert (failure.line, failure.file.endswith("syntax.py")) == (1, True)
    assert failure.message.startswith("`syntax` does not compile: ")
    assert host.run("exits:f").failure.message == "`exits` calls sys.exit(3) while it is imported"
    assert host.run("task:add").failure.message == "there is no module `task` (did you mean `tasks`?)"
    assert host.run("tasks:ad").failure.message == "module `tasks` has no `ad` (did you mean `add`?)"
    assert host.run("tasks").failure.message == "`tasks` is no function (write it as `module:function`)"


def test_c20_a_task_that_closes_its_channel_is_heard_by_nobody_and_hangs_nothing(host):
    worker = host.run("tasks:close_all")
    assert worker.messages == [wire.Started()]
    assert worker.status == 1
    assert "its result is lost" in worker.err


def test_c20_nothing_of_ours_is_written_into_a_file_that_took_the_channels_number(host):
    worker = host.run("tasks:replace_channel")
    assert worker.messages == [wire.Started()]
    assert (Path(host.folder) / "stolen.txt").read_bytes() == b""


def test_c20_a_task_may_change_its_signals(host):
    assert host.run("tasks:ignore_everything").result is True


@pytest.mark.parametrize("name", ["coroutine", "generator"])
def test_async_functions_and_generators_are_refused(host, name):
    failure = host.run(f"tasks:{name}").failure
    assert failure.kind == "import"
    assert "calling it would do nothing" in failure.message


def test_a_coroutine_that_comes_back_is_explained(host):
    worker = host.run("tasks:hands_out_a_coroutine")
    assert "was called and not awaited" in worker.failure.message
    assert worker.err == ""


def test_arguments_are_converted_and_all_mistakes_told_at_once(host):
    assert host.run("tasks:paths", "a/b", "red").result == ["PosixPath", "a/b", "red"]
    worker = host.run("tasks:paths", 1, "rad", three=3)
    assert worker.failure.kind == "arguments"
    assert worker.failure.message == (
        '`0`: expected `Path`, got `1`; `1`: expected one of `red`, got `"rad"` (did you mean `red`?); '
        "`three`: unknown argument (it takes `path`, `colour`)"
    )
    assert worker.of(wire.Started) == []
    worker = host.fork()
    worker.tell(wire.Call(target="tasks:add", args=("4",), kwargs={"b": "5"}, lax=("0", "b")))
    assert worker.finish().result == 9


def test_retry_and_fail_are_told_apart(host):
    failure = host.run("tasks:retry").failure
    assert (failure.kind, failure.retry_after) == ("retry", 0.0)
    failure = host.run("tasks:retry", 2).failure
    assert (failure.kind, failure.retry_after) == ("retry", 2.0)
    failure = host.run("tasks:fail").failure
    assert (failure.kind, failure.message, failure.type_names[1]) == ("fail", "no such film", "taskrun.Fail")
    assert failure.traceback == ""
    failure = host.run("tasks:fail_at_length").failure
    assert failure.traceback == "no such film\nlooked in a and b\n"  # its later lines stand nowhere else
    failure = host.run("tasks:retry_after_error").failure
    assert (failure.kind, failure.message) == ("retry", "later")
    assert "ZeroDivisionError" in failure.traceback


# --- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_raises_cancelled(host, number):
    worker = host.call("tasks:wait_in_python")
    worker.says("begun")
    worker.sleeps()
    worker.signal(number)
    failure = worker.finish().failure
    assert (failure.kind, failure.message) == ("cancelled", f"stopped by {number.name}")


def test_cancelled_lets_a_task_clean_up(host):
    worker = host.call("tasks:wait_and_clean")
    worker.says("begun")
    worker.sleeps()
    worker.signal(signal.SIGTERM)
    assert worker.finish().failure.kind == "cancelled"
    assert "cleaned" in worker.out


def test_a_task_that_catches_cancelled_may_still_return(host):
    worker = host.call("tasks:wait_and_return")
    worker.says("begun")
    worker.sleeps()
    worker.signal(signal.SIGTERM)
    assert worker.finish().result == "caught"


def test_a_task_that_asks_is_trusted(host):
    worker = host.call("tasks:ask")
    worker.says("begun")
    worker.signal(signal.SIGTERM)
    assert worker.finish().result == "asked"


def test_a_signal_before_the_call_is_not_lost(host):
    worker = host.fork()
    worker.signal(signal.SIGTERM)
    worker.tell(wire.Call(target="tasks:add", args=(1,)))
    worker.finish()
    assert worker.failure.kind == "cancelled"
    assert worker.of(wire.Started) == []


# --- many -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_hundreds_of_forks_leave_the_template_as_it_was(host):
    def size():
        fields = Path(f"/proc/{host.pid}/statm").read_text().split()
        return int(fields[1]) - int(fields[2]), len(os.listdir(f"/proc/{host.pid}/fd"))

    for _ in range(50):
        assert host.run("tasks:add", 1).result == 3
    pages, descriptors = size()
    for _ in range(400):
        worker = host.fork()
        worker.channel.close()
        wait(worker.pid)
        for pipe in worker._pipes:
            os.close(pipe)
    wait_until(lambda: size()[1] == descriptors)  # it answers before it lets go of those of the last one
    assert size()[0] - pages < 100
    assert children() == {host.pid}


def test_a_template_outlives_signals_and_goes_with_its_socket(tmp_path):
    (tmp_path / "tasks.py").write_text("def one(): return 1\n")
    with FakeHost(tmp_path) as host:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(host.pid, number)
        assert host.run("tasks:one").result == 1
        host.socket.close()
        assert wait(host.pid) == 0
        host.close = lambda: (os.close(host.log), ctypes.CDLL(None).prctl(36, 0, 0, 0, 0))


PARENT = """
import ctypes, json, os, sys, time
from pathlib import Path
from support.fake_host import FakeHost
host = FakeHost(Path(sys.argv[1]))
host.inspect(__import__("taskrun.worker.wire").worker.wire.CallSite(id=0, target="tasks:sleep"))
workers = [host.call("tasks:sleep") for _ in range(3)]
for worker in workers:
    worker.says("begun")
print(json.dumps([host.pid, *(worker.pid for worker in workers)]), flush=True)
time.sleep(100)
"""


def test_nothing_is_left_when_the_host_is_killed(tmp_path):
    (tmp_path / "tasks.py").write_text("import time\ndef sleep():\n    print('begun')\n    time.sleep(100)\n")
    root = Path(__file__).parents[2]
    reading, writing = os.pipe()
    env = {**os.environ, "PYTHONPATH": f"{root}:{root}/tests"}
    argv = [sys.executable, "-c", PARENT, str(tmp_path)]
    parent = os.posix_spawn(sys.executable, argv, env, file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)])
    os.close(writing)
    with os.fdopen(reading) as output:
        pids = json.loads(output.readline())
        os.kill(parent, signal.SIGKILL)
        assert wait(parent) == -signal.SIGKILL
        until = time.monotonic() + 20
        while any(alive(pid) for pid in pids):
            assert time.monotonic() < until
            time.sleep(0.01)


def alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
