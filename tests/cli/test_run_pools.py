"""Tasks in the workers of `[pools]`: what stays from task to task, what does not, and how workers come and go."""

from __future__ import annotations

import os
import signal
import time

from support import runs

MODULE = """
    import contextlib, os, signal, subprocess, sys, threading, time
    from pathlib import Path

    import taskrun

    CALLS = 0

    @contextlib.contextmanager
    def models():
        Path(f"set-up-{os.getpid()}").touch()
        yield
        Path(f"torn-down-{os.getpid()}").touch()

    def count(n: int = 0) -> list:
        global CALLS
        CALLS += 1
        print(f"number {n}")
        return [os.getpid(), CALLS]

    def surroundings() -> dict:
        seen = {name: os.environ.get(name) for name in ("OWN", "LEFT", "TASKRUN_TASK", "TASKRUN_ATTEMPT")}
        seen["cwd"] = os.path.basename(os.getcwd())
        os.environ["LEFT"] = "behind"
        os.environ.pop("TASKRUN_TASK", None)
        os.chdir("/")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return seen

    def crash() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def fail() -> None:
        raise ValueError("no")

    def leave() -> int:
        return subprocess.Popen(["sleep", "600"]).pid

    def closes() -> None:
        os.close(1)

    def forks() -> str:
        if os.fork() == 0:
            return "the child's"
        os.wait()
        return "the parent's"

    def steps() -> int:
        done = taskrun.restored() or 0
        taskrun.checkpoint(done + 1)
        if done == 0:
            raise taskrun.Retry(after=0)
        return done

    def work() -> None:
        Path("working").touch()
        for _ in taskrun.track(range(100)):
            time.sleep(0.5)

    def upset() -> None:
        os.umask(0o777)
        sys.setrecursionlimit(90)
        signal.signal(signal.SIGALRM, lambda *_: print("alarm"))
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        sys.stdout = open(os.devnull, "w")

    def settled() -> list:
        time.sleep(0.1)  # for the timer
        os.close(os.open("made", os.O_CREAT | os.O_WRONLY, 0o666))
        print("seen")
        blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        return [CALLS, oct(os.stat("made").st_mode & 0o777), sys.getrecursionlimit() > 90, blocked]

    def closes_stream() -> None:
        sys.stdout.close()

    def thread() -> None:
        def talk():
            while True:
                print("from a thread", flush=True)
                time.sleep(0.01)
        threading.Thread(target=talk, name="talker").start()

    def double_fork() -> None:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(61.25)
            os._exit(0)
        os.wait()

    def zombie() -> None:
        if os.fork() == 0:
            os._exit(0)
        time.sleep(0.05)

    def burn() -> None:
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass

    def fork_and_come_out() -> None:
        os.fork()

    def slow_setup() -> None:
        Path("setting-up").touch()
        time.sleep(1)

    @contextlib.contextmanager
    def hangs_at_the_end():
        yield
        Path("tearing-down").touch()
        time.sleep(61.25)

    @contextlib.contextmanager
    def fails_at_the_end():
        yield
        raise RuntimeError("no way out")

    def torn() -> None:
        try:
            work()
        finally:
            print("tidied up")
"""
POOL = '[pools.p]\nsize = 1\n\n[defaults]\npool = "p"\n\n'


def prepare(project, names: str, *, pool: str = POOL, **keys: str):
    project.write("m.py", MODULE)
    tables = [f'[tasks.{name}]\npython = "m:{name}"\n{keys.get(name, "")}\n' for name in names.split()]
    project.tasks(pool + "\n".join(tables))
    return project


def results(project) -> dict:
    return {task: end["result"] for task, end in runs.ends(project).items()}


def test_a_worker_stays_from_task_to_task_and_each_has_its_own_output(project):
    prepare(project, "count", count='foreach.n = { range = [1, 6] }\nargs = { n = "{{ n }}" }')
    project.taskrun("run", "count").succeeds()
    found = list(results(project).values())
    assert len({pid for pid, _ in found}) == 1
    assert sorted(calls for _, calls in found) == [1, 2, 3, 4, 5, 6]
    for n in range(1, 7):
        assert project.taskrun("logs", f"count[n={n}]").succeeds().stdout.endswith(f"number {n}\n")


def test_folder_environment_and_signals_are_put_back(project):
    prepare(
        project,
        "surroundings count work",
        surroundings='foreach.n = [1, 2]\nenv = { OWN = "{{ n }}" }\ncwd = "sub"',
        work='needs = ["surroundings"]\ntimeout = "300ms"',
    )
    project.write("sub/keep", "")
    project.taskrun("run", "surroundings", "work").exits(124)
    for n in (1, 2):
        seen = results(project)[f"surroundings[n={n}]"]
        assert seen == {
            "OWN": str(n),
            "LEFT": None,
            "TASKRUN_TASK": f"surroundings[n={n}]",
            "TASKRUN_ATTEMPT": "1",
            "cwd": "sub",
        }
    assert runs.ends(project)["work"]["reason"] == "timed out after 300ms"  # heard, and not killed


def test_the_setup_is_called_once_in_each_worker_and_left_at_the_end(project):
    pool = POOL.replace("size = 1", 'size = 2\nsetup = "m:models"')
    prepare(project, "count", pool=pool, count="foreach.n = { range = [1, 8] }")
    project.taskrun("run", "count", "-j", "2").succeeds()
    began = {path.name.rpartition("-")[2] for path in project.path.glob("set-up-*")}
    ended = {path.name.rpartition("-")[2] for path in project.path.glob("torn-down-*")}
    assert began == ended
    assert 1 <= len(began) <= 2


def test_a_setup_that_fails_is_told_and_no_task_hangs(project):
    prepare(project, "count", pool=POOL.replace("size = 1", 'size = 1\nsetup = "m:fail"'), count="foreach.n = [1, 2]")
    project.taskrun("run", "-k", "count").exits(1).says("its setup failed: no").says("ValueError: no")
    assert [end["state"] for end in runs.ends(project).values()] == ["failed", "failed"]


def test_what_setup_and_preload_name_is_looked_at_before_anything_starts(project):
    prepare(project, "count", pool=POOL.replace("size = 1", 'setup = "m:modles"\npreload = ["jsom"]'))
    done = project.taskrun("run", "count").exits(2)
    done.says("`m:modles` of pool `p` cannot be called").says("did you mean `models`?")
    done.says("`jsom` of pool `p` cannot be imported")
    assert project.taskrun("check").exits(2).stdout.count("of pool `p`") == 2


def test_a_crash_costs_one_task_and_the_worker_is_replaced(project):
    prepare(project, "crash count", count='needs = ["crash"]', crash="allow-failure = true")
    project.taskrun("run", "count").succeeds()
    assert runs.ends(project)["crash"]["reason"] == "killed by SIGKILL (not by taskrun)"
    assert results(project)["count"][1] == 1
    states = [event for event in runs.events(project) if event["event"] == "pool.state"]
    assert states[-1]["restarts"] == 1


def test_a_failure_leaves_the_worker_where_it_is(project):
    prepare(project, "fail count", count='needs = ["fail"]', fail="allow-failure = true")
    project.taskrun("run", "count").succeeds()
    assert runs.ends(project)["fail"]["reason"] == "ValueError: no"
    (first, second) = (event["pid"] for event in runs.events(project) if event["event"] == "task.start")
    assert first == second


def test_processes_that_a_task_leaves_behind_are_killed_and_named(project):
    prepare(project, "leave count", count='needs = ["leave"]')
    project.taskrun("run", "count").succeeds().says("left 1 process behind (sleep 600), killed")
    assert results(project)["count"][1] == 1  # of another worker
    project.expect_nothing_left()


def test_a_worker_whose_stdout_was_closed_gets_no_other_task(project):
    prepare(project, "closes count", count='needs = ["closes"]')
    project.taskrun("run", "count").succeeds()
    assert results(project)["count"][1] == 1
    assert project.taskrun("logs", "count").succeeds().stdout.endswith("number 0\n")


def test_what_a_function_upsets_is_put_back(project):
    prepare(project, "count upset settled", upset='needs = ["count"]', settled='needs = ["upset"]')
    project.taskrun("run", "settled").succeeds()
    umask = os.umask(0)
    os.umask(umask)
    assert results(project)["settled"] == [1, oct(0o666 & ~umask), True, []]  # of the same worker
    assert project.taskrun("logs", "settled").succeeds().stdout == "seen\n"


def test_a_worker_whose_sys_stdout_was_closed_gets_no_other_task(project):
    prepare(project, "closes_stream count", count='needs = ["closes_stream"]')
    project.taskrun("run", "count").succeeds()
    assert project.taskrun("logs", "count").succeeds().stdout == "number 0\n"


def test_a_thread_that_a_task_leaves_writes_into_no_other_tasks_log(project):
    prepare(project, "thread count", count='needs = ["thread"]')
    project.taskrun("run", "count").succeeds().says("1 thread still running: talker")
    assert project.taskrun("logs", "count").succeeds().stdout == "number 0\n"


def test_a_process_that_has_double_forked_is_told_of_the_task_that_left_it(project):
    prepare(project, "double_fork zombie count", zombie='needs = ["double_fork"]', count='needs = ["zombie"]')
    project.taskrun("run", "count").succeeds()
    left = {task: len(end["leaked"]) for task, end in runs.ends(project).items()}
    assert left == {"double_fork": 1, "zombie": 0, "count": 0}
    pids = {event["task"]: event["pid"] for event in runs.events(project) if event["event"] == "task.start"}
    assert pids["double_fork"] != pids["zombie"] == pids["count"]  # a dead child is no reason
    project.expect_nothing_left()


def test_a_crash_is_not_charged_with_what_the_worker_did_before(project):
    prepare(project, "burn crash", crash='needs = ["burn"]')
    project.taskrun("run", "crash").exits(1)
    ends = runs.ends(project)
    assert ends["burn"]["cpu"] >= 0.3
    assert ends["crash"]["cpu"] < 0.2


def test_a_fork_that_comes_out_of_a_setup_serves_nobody(project):
    prepare(project, "count", pool=POOL.replace("size = 1", 'size = 1\nsetup = "m:fork_and_come_out"'))
    project.taskrun("run", "count").succeeds()


def test_a_setup_that_cannot_be_left_is_told_first_by_its_error(project):
    prepare(project, "count", pool=POOL.replace("size = 1", 'size = 1\nsetup = "m:fails_at_the_end"'))
    told = project.taskrun("run", "count").succeeds()
    told.says("pool `p` printed: taskrun: the setup could not be left: RuntimeError: no way out")


def test_a_setup_whose_end_hangs_is_killed_after_the_grace_period(project):
    pool = '[run]\ngrace = "200ms"\n' + POOL.replace("size = 1", 'size = 1\nsetup = "m:hangs_at_the_end"')
    prepare(project, "leave", pool=pool)
    told = project.taskrun("run", "leave").succeeds()
    told.says("a worker had not ended 0.2 s later, and was killed")
    project.expect_nothing_left()


def test_an_interrupt_hurries_a_setup_that_is_being_left(project):
    pool = '[run]\ngrace = "60s"\ncleanup = "100ms"\n' + POOL.replace(
        "size = 1", 'size = 1\nsetup = "m:hangs_at_the_end"'
    )
    prepare(project, "count", pool=pool)
    running = project.start("run", "count")
    runs.wait_for_files(project, "tearing-down")
    running.signal(signal.SIGINT)
    running.finish().dies_of(signal.SIGINT)
    project.expect_nothing_left()


def test_workers_are_started_when_a_task_waits_for_one_and_not_before(project):
    pool = POOL.replace("size = 1", 'size = 4\nsetup = "m:models"')
    prepare(project, "crash count", pool=pool, crash='needs = ["count"]')
    project.taskrun("run", "-j", "4", "crash").exits(1)
    assert len(list(project.path.glob("set-up-*"))) == 1
    states = [event for event in runs.events(project) if event["event"] == "pool.state"]
    assert (states[-1]["workers"], states[-1]["busy"], states[-1]["restarts"]) == (0, 0, 0)


def test_time_does_not_count_for_a_setup_while_the_run_stands_still(project):
    pool = POOL.replace("size = 1", 'size = 1\nsetup = "m:slow_setup"\nstartup-timeout = "1900ms"')
    prepare(project, "count", pool=pool)
    shell = project.terminal(argv=("bash", "--norc", "--noprofile", "--noediting", "-i"), env={"PS1": "READY> "})
    shell.expect("READY> ")
    shell.press("taskrun run count\n")
    runs.wait_for_files(project, "setting-up")
    runner = runs.runner_of(project)
    shell.press("\x1a")
    runs.wait_state(runner, "T")
    time.sleep(2)  # what has to pass unseen
    shell.press("fg\n").expect(r"1 task: 1 ok")
    shell.expect("READY> ")
    shell.press("exit\n")
    shell.finish()


def test_a_fork_that_comes_out_of_a_task_answers_for_nobody(project):
    prepare(project, "forks count", count='needs = ["forks"]')
    project.taskrun("run", "count").succeeds()
    assert results(project)["forks"] == "the parent's"


def test_retries_checkpoints_and_results_are_as_elsewhere(project):
    prepare(project, "steps", steps="retry = 3")
    project.taskrun("run", "steps").succeeds()
    assert results(project)["steps"] == 1


def test_workers_are_replaced_after_max_requests(project):
    pool = POOL.replace("size = 1", "size = 1\nmax-requests = 2")
    prepare(project, "count", pool=pool, count="foreach.n = { range = [1, 5] }")
    project.taskrun("run", "count").succeeds()
    found = list(results(project).values())
    assert len({pid for pid, _ in found}) == 3
    assert max(calls for _, calls in found) == 2


def test_no_more_tasks_of_a_pool_run_at_once_than_it_has_workers(project):
    prepare(project, "count work", pool=POOL.replace("size = 1", "size = 2"), count="foreach.n = { range = [1, 9] }")
    project.taskrun("run", "count", "-j", "8").succeeds()
    busy = most = 0
    for event in runs.events(project):
        busy += {"task.start": 1, "task.end": -1}.get(event["event"], 0)
        most = max(most, busy)
    assert most <= 2


def test_an_interrupt_is_heard_by_the_function_and_nothing_is_left(project):
    prepare(project, "torn")
    running = project.start("run", "torn")
    runs.wait_for_files(project, "working")
    running.signal(signal.SIGINT)
    running.finish().dies_of(signal.SIGINT)
    assert "tidied up" in project.taskrun("logs", "torn").stdout
    project.expect_nothing_left()


def test_workers_die_with_a_runner_that_is_killed(project):
    prepare(project, "work", pool=POOL.replace("size = 1", 'size = 1\nsetup = "m:models"'))
    running = project.start("run", "work")
    runs.wait_for_files(project, "working")
    running.signal(signal.SIGKILL)
    running.finish().dies_of(signal.SIGKILL)
    project.expect_nothing_left()


def test_a_default_pool_is_for_python_tasks_only(project):
    project.write("m.py", MODULE)
    project.tasks(POOL + '[tasks.a]\nrun = ["true"]\n\n[tasks.b]\nneeds = ["a"]\n')
    project.taskrun("run", "b").succeeds()


def test_a_dry_run_names_the_pool(project):
    prepare(project, "count")
    assert ", pool p" in project.taskrun("run", "--dry-run", "count").succeeds().stdout


def test_the_live_view_says_how_the_pool_stands(project):
    prepare(project, "work crash", work='needs = ["crash"]', crash="allow-failure = true")
    terminal = project.terminal("run", "work")
    terminal.expect(r"p 1/1 busy, 1 restart")
    terminal.press("\x03").finish().dies_of(signal.SIGINT)
