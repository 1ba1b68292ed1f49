"""Disks that are full or read-only, records that vanish, programs that cannot be started, odd environments."""

from __future__ import annotations

import functools
import json
import os
import resource
import shlex
import signal
import subprocess

import pytest
from support import runs
from support.census import wait_until
from support.project import pids_of

# --- disks


@functools.cache
def mounting() -> tuple[str, ...]:
    """The command by which one may mount: what it mounts goes with it. Empty: this user may not."""
    for command in (("unshare", "--mount"), ("unshare", "--mount", "--map-root-user")):
        try:
            probe = subprocess.run([*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, timeout=20)
        except FileNotFoundError:
            break
        if probe.returncode == 0:
            return command
    return ()


def in_mounts(project, script: str, env: dict[str, str] | None = None):
    """Runs a shell script that may mount, and in which `taskrun` is the one under test."""
    if not mounting():
        pytest.skip("this user may not mount anything, not in a user namespace either")
    return project.launch(*mounting(), "bash", "-euo", "pipefail", "-c", script, env=env).finish()


LOUD = """
    [run]
    state = "disk/state"
    [tasks.loud]
    needs = ["quiet"]
    shell = "seq 1 100000; exit {{ vars.status }}"
    [tasks.quiet]
    run = ["echo", "fine"]
    [vars]
    status = 0
"""
SMALL = "mkdir disk; mount -t tmpfs -o size={} none disk; "


def test_a_disk_that_fills_up_costs_the_record_and_not_the_tasks(project):
    project.tasks(LOUD)
    run = "status=0; taskrun run loud quiet || status=$?; echo status $status >&2; "
    look = "cp -r disk/state kept; taskrun runs; taskrun logs quiet; taskrun logs loud | wc -c"
    finished = in_mounts(project, SMALL.format("256k") + run + look)
    finished.says("warning: the log logs/loud.1.log ends after", "no space left on device")
    finished.says("Summary", "2 tasks: 2 ok", "status 125").never_says("Traceback")
    assert finished.stderr.count("the log logs/") == 1
    lines = finished.stdout.splitlines()
    assert [line for line in lines if line.startswith("loud | ")] == [f"loud | {n}" for n in range(1, 100_001)]
    assert "quiet | fine" in lines
    assert "status 125" in lines[-3]
    assert lines[-2] == "fine"
    (record,) = (project.path / "kept" / "runs").glob("2*")
    summary = json.loads((record / "run.json").read_text())
    assert (summary["state"], summary["exit_status"]) == ("finished", 125)
    assert "no space left on device" in summary["trouble"][0]
    log = (record / "logs" / "loud.1.log").read_bytes()
    assert 0 < len(log) == int(lines[-1])
    assert "".join(f"{n}\n" for n in range(1, 100_001)).encode().startswith(log)


def test_a_task_that_fails_counts_more_than_a_full_disk(project):
    project.tasks(LOUD)
    in_mounts(project, SMALL.format("256k") + "taskrun run loud quiet status=3").exits(1)


@pytest.mark.parametrize("why", ["full", "read-only"])
def test_where_no_record_can_be_begun_it_goes_to_the_users_state_folder_or_nothing_is_started(project, why):
    project.tasks("""
        [run]
        state = "disk/state"
        [tasks.a]
        shell = "echo ran >> $LIST"
    """)
    make = {
        "full": SMALL.format("64k") + "cat /dev/zero >disk/zero 2>/dev/null || true; ",
        "read-only": "mkdir disk; mount -t tmpfs -o ro none disk; ",
    }[why]
    told = {"full": "no space left on device", "read-only": "read-only file system"}[why]
    list_ = project.path / "list"
    env = {"LIST": str(list_)}
    finished = in_mounts(
        project,
        make
        + "XDG_STATE_HOME=$PWD/xdg taskrun run a; XDG_STATE_HOME=$PWD/xdg taskrun runs; taskrun run a; taskrun runs",
        env,
    ).succeeds()
    assert finished.stderr.count("warning: cannot write to ") == 2
    for home in (project.path / "xdg" / "taskrun", os.path.join(project.env["HOME"], ".local", "state", "taskrun")):
        finished.says(f"{told}; the record is in {home}/disk-")
    assert finished.stdout.count(" ok  1 succeeded  a") == 2
    assert list_.read_text() == "ran\n" * 2
    refused = in_mounts(project, make.replace("mkdir", "mkdir -p") + "unset HOME; taskrun run a", env).exits(125)
    assert refused.stderr == f"error: cannot write to {project.path}/disk/state: {told}\n"
    assert list_.read_text() == "ran\n" * 2


def test_a_read_only_project_is_run_like_any_other(project):
    project.write("m.py", "def call():\n    return 5\n")
    project.tasks("""
        [tasks.bin]
        needs = ["py"]
        run = ["echo", "{{ tasks.py.result }}"]
        [tasks.py]
        python = "m:call"
    """)
    env = {"PYTHONDONTWRITEBYTECODE": ""}
    script = "mount --bind . .; mount -o remount,ro,bind .; cd .; cd $PWD; taskrun run bin; taskrun logs bin"
    in_mounts(project, script, env).succeeds().prints_exactly("5\n5\n").says("read-only file system; the record is in")
    assert sorted(os.listdir(project.path)) == ["m.py", "tasks.toml"]


def test_a_limit_of_file_size_is_the_logs_affair_and_the_tasks_own(project):
    project.tasks("""
        [tasks.loud]
        shell = "seq 1 100000"
        [tasks.writes]
        run = ["python3", "-c", "import signal; print(signal.getsignal(signal.SIGXFSZ).name)"]
    """)
    finished = (
        project.sh("(ulimit -f 100; taskrun run loud) | cat").exits(125).says("the log logs/loud.1.log ends after")
    )
    assert finished.stdout == "".join(f"{n}\n" for n in range(1, 100_001))


# --- records


def test_a_record_that_is_removed_under_way_does_not_stop_the_run(project):
    project.tasks("""
        [tasks.first]
        shell = "echo one; until [ -e go ]; do sleep 0.02; done; echo two"
        [tasks.second]
        needs = ["first"]
        shell = "echo three"
        [tasks.both]
        needs = ["second"]
    """)
    running = project.start("run", "both").wait_for("first | one")
    logs = runs.folder(project) / "logs"
    wait_until(logs.is_dir)
    for log in logs.iterdir():
        log.unlink()
    project.write("go", "")
    running.finish().succeeds().prints_exactly("first | one\nfirst | two\nsecond | three\n")
    (project.path / "go").unlink()
    running = project.start("run", "both").wait_for("first | one")
    project.sh("rm -rf .taskrun").succeeds()
    project.write("go", "")
    finished = running.finish().succeeds().says("the record was removed", "2 tasks: 2 ok").never_says("Traceback")
    assert finished.stdout == "first | one\nfirst | two\nsecond | three\n"


def test_a_run_whose_runner_was_killed_reads_as_aborted_and_its_logs_are_there(project):
    project.tasks("""
        [tasks.a]
        shell = "echo so far; exec sleep 64.25"
    """)
    running = project.start("run", "a").wait_for("so far")
    assert "under way" in project.taskrun("runs").succeeds().stdout or "running" in project.taskrun("runs").stdout
    running.signal(signal.SIGKILL).finish().dies_of(signal.SIGKILL)
    project.expect_nothing_left()
    assert pids_of("64.25") == []
    project.taskrun("runs").succeeds().prints("aborted")
    (run,) = project.taskrun("runs", "--json").succeeds().json()
    assert run["state"] == "aborted"
    project.taskrun("logs", "a").succeeds().prints_exactly("so far\n")


def test_old_runs_are_thrown_away_but_none_that_is_under_way(project):
    project.tasks("""
        [run]
        keep-runs = 2
        [tasks.long]
        shell = "echo up; until [ -e go ]; do sleep 0.02; done; echo end"
        [tasks.quick]
        run = ["true"]
    """)
    long = project.start("run", "long").wait_for("up")
    ids = [project.taskrun("runs", "--json").json()[0]["id"]]
    for _ in range(3):
        project.taskrun("run", "quick").succeeds()
        ids.append(os.readlink(runs.folder(project)))
    left = sorted(path.name for path in runs.folder(project).parent.glob("2*"))
    assert left == [ids[0], *ids[-2:]]
    project.write("go", "")
    long.finish().succeeds().prints_exactly("up\nend\n")
    project.taskrun("logs", "--run", ids[0], "long").succeeds().prints_exactly("up\nend\n")


# --- programs that cannot be started

FILES = {
    "no-shebang": ("echo hi\n", 0o755),
    "empty": ("", 0o755),
    "crlf": ("#!/bin/sh\r\necho hi\r\n", 0o755),
    "bad-interpreter": ("#!/no/such/interpreter\n", 0o755),
    "not-executable": ("#!/bin/sh\n", 0o644),
    "fine": ('#!/bin/sh\necho "$PWD"\n', 0o755),
}
FAILURES = {
    "'ehco', 'hi'": ("ehco: command not found (did you mean echo?) in PATH=", ""),
    "'./nonesuch'": ("./nonesuch: no such file (looked for in {here})", ""),
    "'./not-executable'": ("./not-executable is not executable (mode 0644); chmod +x makes it so", ""),
    "'./in'": ("./in is a folder, not a program", ""),
    "'./no-shebang'": ("./no-shebang is not a program: a script must begin with a line such as #!/bin/sh", ""),
    "'./empty'": ("./empty is not a program: the file is empty", ""),
    "'./crlf'": ("./crlf: its interpreter '/bin/sh\\r' does not exist; its lines end in CRLF, they must end in LF", ""),
    "'./bad-interpreter'": ("./bad-interpreter: its interpreter '/no/such/interpreter' does not exist", ""),
    "'./link'": ("./link is a link to nowhere, which does not exist", ""),
    "'true', '{{ vars.long }}'": (
        "true: arguments and environment are too long: 0.2 MB; one argument has 200,000 bytes, at most 131,071 are possible",
        "",
    ),
    "'true', '{{ vars.many }}'": ("true: arguments and environment are too long: 5.", " MB; the limit is "),
}


def programs(project) -> None:
    (project.path / "in").mkdir()
    (project.path / "link").symlink_to("nowhere")
    for name, (text, mode) in FILES.items():
        project.write(name, text.encode()).chmod(mode)


def test_a_program_that_cannot_be_started_fails_its_task_with_one_clear_message(project):
    programs(project)
    project.write("many", f"{'x' * 99_999}\n" * 50)
    toml = "[vars]\nmany = { lines = 'many' }\nlong = { shell = 'head -c 200000 /dev/zero | tr \"\\\\0\" x' }\n"
    for number, argv in enumerate(FAILURES):
        toml += f"[tasks.t{number}]\nrun = [{argv}]\n"
    project.tasks(toml)
    finished = project.taskrun("run", "-k", "--events", "-", "*").exits(1).never_says("Traceback")
    ends = {event["task"]: event for event in finished.json_lines() if event["event"] == "task.end"}
    for number, (message, end) in enumerate(FAILURES.values()):
        failed = ends[f"t{number}"]
        assert failed["state"] == "failed"
        assert failed["reason"].startswith(message.format(here=project.path))
        assert end in failed["reason"]
        assert failed["exit_code"] == (127 if number in {0, 1, 8} else 126)
        # Once when it happens and once in the summary.
        assert finished.stderr.count(f"t{number}  {message.format(here=project.path)}") == 2
    assert "log:" not in finished.stderr
    finished.says("Summary", f"{len(FAILURES)} tasks: {len(FAILURES)} failed")


def test_a_folder_that_is_not_there_and_a_stdin_that_cannot_be_read(project):
    programs(project)
    project.tasks("""
        [tasks.gone]
        run = ["true"]
        cwd = "nowhere"
        [tasks.file]
        run = ["true"]
        cwd = "fine"
        [tasks.stdin]
        run = ["cat"]
        stdin = "nonesuch.txt"
        [tasks.python]
        python = "os:getcwd"
        cwd = "nowhere"
    """)
    finished = project.taskrun("run", "-k", "*").exits(1).never_says("Traceback")
    finished.says(f"the folder {project.path}/nowhere does not exist")
    assert finished.stderr.count(f"  the folder {project.path}/nowhere does not exist") == 4
    assert f"file  {project.path}/fine is not a folder" in finished.stderr
    assert f"stdin `{project.path}/nonesuch.txt` cannot be opened: No such file or directory" in finished.stderr


def test_a_relative_program_is_looked_for_beside_the_file_and_runs_in_its_folder(project):
    programs(project)
    project.write("sub/deep/x", "")
    project.tasks("""
        [tasks.a]
        run = ["./fine"]
        cwd = "sub"
    """)
    project.taskrun("run", "a", cwd="sub/deep").succeeds().prints_exactly(f"{project.path}/sub\n")


# --- limits and environments


def test_few_open_files_mean_fewer_tasks_at_once(project):
    project.write("m.py", "def call(n: int):\n    return n\n")
    project.tasks("""
        [tasks.bin]
        foreach.n = { range = [1, 30] }
        shell = "ulimit -n; echo 50% > $TASKRUN_PROGRESS"
        [tasks.py]
        foreach.n = { range = [1, 10] }
        python = "m:call"
        args = { n = "{{ n }}" }
    """)
    finished = project.sh("ulimit -n 64; taskrun run -j 50 bin py").succeeds()
    finished.says("warning: only 1 task at once instead of 50: too few open files are allowed", "40 tasks: 40 ok")
    assert sorted(line.split(" | ")[1] for line in finished.stdout.splitlines()) == ["64"] * 30
    project.sh("ulimit -n 100; taskrun run -j 500 bin py").succeeds().says(
        "warning: only 6 tasks at once instead of 500"
    )
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard >= 4096:
        # A low soft limit is ours to raise, and the tasks' all the same.
        finished = project.sh("ulimit -Sn 64; taskrun run -j 50 bin py").succeeds().never_says("too few")
        assert sorted(line.split(" | ")[1] for line in finished.stdout.splitlines()) == ["64"] * 30


@pytest.mark.parametrize("limit", [8, 12, 16])
def test_so_few_open_files_that_nothing_works_are_no_bug(project, limit):
    project.tasks("[tasks.a]\nrun = ['true']\n")
    finished = project.sh(f"ulimit -n {limit}; exec {shlex.join(project.command)} run a")
    assert finished.status in {1, 125}
    assert "oo many open files" in finished.stderr
    finished.never_says("Traceback", "bug")


def test_a_working_directory_that_is_gone(project):
    project.tasks("[tasks.a]\nrun = ['true']\n")
    for words in ("run a", "list", "logs", ""):
        script = f"mkdir gone; cd gone; rmdir ../gone; exec {shlex.join(project.command)} {words}"
        finished = project.sh(script).exits(2).says("error: the working directory")
        assert finished.stdout == ""
        assert finished.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "setting",
    [
        "-u HOME",
        "TERM=dumb",
        "COLUMNS=1",
        "LC_ALL=C PYTHONIOENCODING=ascii",
        "LC_ALL=nonesuch",
        "TMPDIR=/nonexistent",
        "PATH=",
        "PYTHONSAFEPATH=1 PYTHONNOUSERSITE=1 PYTHONOPTIMIZE=2",
    ],
)
def test_odd_environments_change_nothing_that_matters(project, setting):
    project.write("m.py", "def call():\n    print('é ✓')\n    raise ValueError('ü')\n")
    project.tasks("""
        [tasks.py]
        python = "m:call"
        [tasks."sh"]
        run = ["/usr/bin/printf", 'ä \\xff %s\\n', "日本"]
    """)
    command = shlex.join([*project.command, "run", "-k", "py", "sh"])
    finished = (
        project.sh(f"exec env {setting} {command}")
        .exits(1)
        .never_says('Traceback (most recent call last):\n  File "/work')
    )
    assert sorted(finished.out.splitlines()) == sorted(["py | é ✓".encode(), "sh | ä \ufffd 日本".encode()])
    finished.says("FAIL  py  ValueError: ü", "2 tasks: 1 ok, 1 failed")


def test_a_narrow_or_a_dumb_terminal_gets_plain_lines(project):
    project.tasks("[tasks.a]\nshell = 'echo output of the task'\n[tasks.b]\nrun = ['true']\n")
    for env, columns in (({"TERM": "dumb"}, 80), ({}, 12), ({"COLUMNS": "1"}, 80)):
        with project.terminal("run", "--output", "stream", "a", "b", env=env, columns=columns) as terminal:
            finished = terminal.finish().succeeds().prints("START", "Summary")
            assert "a | output of the task" in finished.stdout
            assert b"\x1b[?25l" not in terminal.raw
