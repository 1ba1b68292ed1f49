"""Rows D1 to D15: a program that cannot be started is one clear message, and costs nothing but its own task."""

from __future__ import annotations

import errno
import json
import shlex
import signal

import pytest
from support import faulty, runs
from support.injection import plant
from support.mounts import in_mounts

SCRIPTS = {
    "no-shebang": ("echo hi\n", 0o755),
    "empty": ("", 0o755),
    "crlf": ("#!/bin/sh\r\necho hi\r\n", 0o755),
    "bad-interpreter": ("#!/no/such/interpreter\n", 0o755),
    "not-executable": ("#!/bin/sh\n", 0o644),
    "fine": ('#!/bin/sh\necho "$PWD"\n', 0o755),
}


def scripts(project) -> None:
    (project.path / "in").mkdir()
    (project.path / "link").symlink_to("nowhere")
    for name, (text, mode) in SCRIPTS.items():
        project.write(name, text.encode()).chmod(mode)


def expect_failures(project, failures: dict[str, str], code: int, toml: str = "") -> None:
    """Tasks that run these words fail with these reasons and this exit code; each is told at once and at the end."""
    scripts(project)
    for number, argv in enumerate(failures):
        toml += f"[tasks.t{number}]\nrun = [{argv}]\n"
    project.tasks(toml)
    finished = project.taskrun("run", "-k", "--events", "-", "*").exits(1).never_says("log:")
    ends = {event["task"]: event for event in finished.json_lines() if event["event"] == "task.end"}
    for number, message in enumerate(failures.values()):
        failed = ends[f"t{number}"]
        assert failed["state"] == "failed"
        assert failed["reason"].startswith(message), failed["reason"]
        assert failed["exit_code"] == code
        assert finished.stderr.count(f"t{number}  {message}") == 2
    finished.says("Summary", f"{len(failures)} failed")


def test_d1_a_command_that_is_not_found_names_the_nearest_one_and_where_was_looked(project):
    expect_failures(
        project,
        {
            "'ehco', 'hi'": "ehco: command not found (did you mean echo?) in PATH=",
            "'./nonesuch'": f"./nonesuch: no such file (looked for in {project.path})",
            "'./link'": "./link is a link to nowhere, which does not exist",
        },
        127,
    )


def test_d2_what_may_not_be_executed_and_a_folder_are_told_apart(project):
    expect_failures(
        project,
        {
            "'./not-executable'": "./not-executable is not executable (mode 0644); chmod +x makes it so",
            "'./in'": "./in is a folder, not a program",
        },
        126,
    )


def test_d3_a_script_without_a_first_line_is_never_given_to_a_shell(project):
    expect_failures(
        project,
        {
            "'./no-shebang'": "./no-shebang is not a program: a script must begin with a line such as #!/bin/sh",
            "'./empty'": "./empty is not a program: the file is empty",
        },
        126,
    )


def test_d4_an_interpreter_that_is_missing_is_named_and_so_are_line_ends(project):
    expect_failures(
        project,
        {
            "'./crlf'": "./crlf: its interpreter '/bin/sh\\r' does not exist; its lines end in CRLF, they must end in LF",
            "'./bad-interpreter'": "./bad-interpreter: its interpreter '/no/such/interpreter' does not exist",
        },
        126,
    )


def test_d5_a_folder_that_nothing_could_make_in_time_is_a_mistake_of_the_file(project):
    scripts(project)
    project.tasks("""
        [tasks.gone]
        run = ["true"]
        cwd = "nowhere"
        [tasks.file]
        run = ["true"]
        cwd = "fine"
        [tasks.python]
        python = "os:getcwd"
        cwd = "nowhere/deep"
        [tasks.other]
        run = ["touch", "started"]
    """)
    for words in (("run", "-k", "*"), ("run", "--dry-run", "*")):
        finished = project.taskrun(*words).exits(2)
        for line, told in {
            3: "the folder `nowhere` of task `gone` does not exist",
            6: "the folder `fine` of task `file` is no folder",
            9: "the folder `nowhere/deep` of task `python` does not exist",
        }.items():
            finished.says(told, f"tasks.toml:{line}:7", "the task needs no other that could make it")
    assert not (project.path / "started").exists()
    assert not (project.path / ".taskrun").exists()
    checked = (
        project.taskrun("check").succeeds().prints("warning[missing-folder]", "the folder `nowhere`", "ok: 4 tasks")
    )
    assert checked.stdout.count("warning[missing-folder]") == 3


def test_d5_a_folder_that_a_task_may_make_is_looked_for_when_it_is_needed(project):
    scripts(project)
    project.write(
        "m.py", "import os\nos.makedirs('by-import', exist_ok=True)\n\ndef where():\n    return os.getcwd()\n"
    )
    project.tasks("""
        [tasks.make]
        run = ["mkdir", "made"]
        [tasks.there]
        needs = ["make"]
        run = ["./fine"]
        cwd = "made"
        [tasks.gone]
        needs = ["make"]
        run = ["true"]
        cwd = "nowhere"
        [tasks.file]
        needs = ["make"]
        python = "os:getcwd"
        cwd = "fine"
        [tasks.last]
        run = ["touch", "cleaned"]
        cwd = "made"
        [tasks.ruled-out]
        run = ["true"]
        cwd = "nowhere"
        when = { exists = "nowhere" }
        [tasks.looked-up]
        run = ["true"]
        cwd = "{{ env.HOME }}/nowhere"
        [tasks.imported]
        python = "m:where"
        cwd = "by-import"
        [tasks.all]
        needs = ["there", "gone", "file", "ruled-out", "looked-up", "imported"]
        finally = ["last"]
    """)
    finished = project.taskrun("run", "-k", "all").exits(1).prints(f"there | {project.path}/made")
    finished.says("8 tasks: 4 ok, 3 failed, 1 skipped")
    for reason in (
        f"gone  the folder {project.path}/nowhere does not exist",
        f"file  {project.path}/fine is not a folder",
        f"looked-up  the folder {project.env['HOME']}/nowhere does not exist",
    ):
        assert finished.stderr.count(reason) == 2, repr(finished)
    assert (project.path / "made" / "cleaned").exists()
    assert runs.states(project)["imported"] == "succeeded"


def test_d5_a_stdin_that_cannot_be_read_fails_its_task(project):
    project.tasks("[tasks.a]\nrun = ['cat']\nstdin = 'nonesuch.txt'\n")
    told = f"stdin `{project.path}/nonesuch.txt` cannot be opened: No such file or directory"
    project.taskrun("run", "a").exits(1).says(told)


def test_d6_a_folder_that_is_removed_under_its_task_is_the_tasks_own_affair(project, oracle):
    (project.path / "sub").mkdir()
    project.tasks("""
        [tasks.a]
        shell = "rmdir ../sub; echo on"
        cwd = "sub"
        [tasks.b]
        needs = ["a"]
        shell = "echo next"
        [tasks.c]
        needs = ["a"]
        run = ["true"]
        cwd = "sub"
    """)
    oracle.expect_log("a", b"on\n")
    project.taskrun("run", "-k", "b", "c").exits(1).says(f"c  the folder {project.path}/sub does not exist")
    assert runs.states(project) == {"a": "succeeded", "b": "succeeded", "c": "failed"}


def test_d7_arguments_that_are_too_long_are_counted(project):
    project.write("many", f"{'x' * 99_999}\n" * 50)
    one = "true: arguments and environment are too long: 0.2 MB; one argument has 200,000 bytes, at most 131,071 are"
    failures = {
        "'true', '{{ vars.long }}'": one,
        "'true', '{{ vars.many }}'": "true: arguments and environment are too long: 5.",
    }
    toml = "[vars]\nmany = { lines = 'many' }\nlong = { shell = 'head -c 200000 /dev/zero | tr \"\\\\0\" x' }\n"
    expect_failures(project, failures, 126, toml)


def test_d8_what_no_program_can_be_given_is_refused_with_its_place(project):
    project.tasks(r"""
        [vars]
        given = { env = "GIVEN", default = "x" }
        [tasks.a]
        run = ["true", "a\u0000b"]
        env = { "A=B" = "x", C = "\u0000" }
        cwd = "a\u0000"
        stdin = "b\u0000"
        [tasks.b]
        run = [""]
        [tasks.c]
        run = ["true", "{{ vars.given }}"]
    """)
    finished = project.taskrun("run", "c").exits(2)
    for key, place in {"run[1]": "4:16", "env.A=B": "5:9", "env.C": "5:26", "cwd": "6:7", "stdin": "7:9"}.items():
        finished.says(f"`{key}` in task `a` has a", f"tasks.toml:{place}")
    finished.says("`run[0]` in task `b` has an empty string", "found 6 errors")
    project.tasks('[vars]\ngiven = { env = "GIVEN", default = "x" }\n[tasks.c]\nrun = ["true", "{{ vars.given }}"]\n')
    project.sh("GIVEN=$'\\xff' taskrun run c").exits(2).says("is not valid UTF-8", "tasks.toml:2:")
    project.sh("taskrun run c given=$'\\xff'").exits(2).says("the value of `given` is not valid UTF-8")
    assert not (project.path / ".taskrun").exists()


SHORTAGES = {
    errno.EAGAIN: "no more processes may be started",
    errno.EMFILE: "too many open files",
    errno.ENOMEM: "not enough memory to start a process",
}
WITH_ANOTHER = """
    [tasks.other]
    shell = ": > other.up; until [ -e go ]; do sleep 0.02; done"
    [tasks.short]
    run = ["touch", "go"]
    [tasks.both]
    needs = ["other", "short"]
"""


def short_of(project, role: str, number: int, *, at: int, for_good: bool) -> dict[str, str]:
    """An environment in which the start of a process, or what is made for it, fails at this step: once or for good."""
    calls = list(faulty.SPAWNS)
    return plant(
        project, {"what": "spawn", "role": role, "calls": calls, "errno": number, "at": at, "for_good": for_good}
    )


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_d9_d11_a_shortage_is_waited_for_while_others_run(project, number):
    project.tasks(WITH_ANOTHER)
    # In the host: a pipe of its own, then one process for each task.
    env = short_of(project, "host", number, at=3, for_good=False)
    project.taskrun("run", "-j", "2", "both", env=env).succeeds()
    assert project.read("planted/host").split() == ["pipe", "posix_spawn", "posix_spawn", "posix_spawn"]


@pytest.mark.parametrize("number", SHORTAGES)
def test_d9_d10_d11_a_shortage_that_nothing_can_end_fails_its_task(project, number):
    project.tasks("[tasks.a]\nrun = ['true']\n")
    env = short_of(project, "host", number, at=2, for_good=True)
    project.taskrun("run", "a", env=env).exits(1).says(f"a  true: {SHORTAGES[number]}")


def test_d9_without_a_process_for_the_supervisor_nothing_is_started(project):
    project.tasks("[tasks.a]\nrun = ['true']\n")
    env = short_of(project, "runner", errno.EAGAIN, at=1, for_good=True)
    finished = project.taskrun("run", "a", env=env).exits(125)
    finished.says_exactly(
        "error: the process that supervises tasks cannot be started: Resource temporarily unavailable\n"
    )
    assert not (project.path / ".taskrun").exists()


def test_d10_descriptors_that_are_short_are_waited_for_while_others_run(project):
    project.tasks(WITH_ANOTHER)
    # In the runner: the host, pipes of its own, two for each task and a FIFO; all of the second task's fail in turn.
    project.taskrun("run", "-j", "2", "both", env=short_of(project, "runner", errno.EMFILE, at=0, for_good=False))
    steps = project.read("planted/runner").split()
    assert steps[-3:] == ["pipe", "pipe", "mkfifo"]
    for at in range(len(steps) - 2, len(steps) + 1):
        (project.path / "go").unlink()
        env = short_of(project, "runner", errno.EMFILE, at=at, for_good=False)
        project.taskrun("run", "-j", "2", "both", env=env).succeeds()


def test_d10_few_open_files_mean_fewer_tasks_at_once(project):
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
    # A low soft limit is ours to raise, and the tasks' all the same.
    finished = project.sh("[ $(ulimit -Hn) -gt 1000 ] || exit 9; ulimit -Sn 64; taskrun run -j 50 bin py")
    if finished.status != 9:
        finished.succeeds().never_says("too few")
        assert sorted(line.split(" | ")[1] for line in finished.stdout.splitlines()) == ["64"] * 30


@pytest.mark.parametrize("limit", [8, 12, 16])
def test_d10_so_few_open_files_that_nothing_works_are_no_bug(project, limit):
    project.tasks("[tasks.a]\nrun = ['true']\n")
    finished = project.sh(f"ulimit -n {limit}; exec {shlex.join(project.command)} run a")
    assert finished.status in {1, 125}
    assert "oo many open files" in finished.stderr
    finished.never_says("bug")


def test_d12_a_program_that_is_being_written_is_told(project):
    program = project.write("tool", "#!/bin/sh\n")
    program.chmod(0o755)
    project.tasks("[tasks.a]\nrun = ['./tool']\n")
    with open("/bin/true", "rb") as real, program.open("wb") as file:
        file.write(real.read())
        file.flush()
        finished = project.taskrun("run", "a").exits(1).says("a  ./tool is being written by another process")
    assert runs.ends(project)["a"]["exit_code"] == 126
    assert finished.stdout == ""
    project.taskrun("run", "a").succeeds()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_d13_a_signal_amid_starts_leaves_nothing_that_was_started(project, number):
    project.tasks("""
        [tasks.many]
        foreach.n = { range = [1, 200] }
        run = ["sh", "-c", "echo {{ n }} >> up; exec sleep 71.3"]
    """)
    running = project.start("run", "-j", "150", "many", "--grace", "100s")
    runs.wait_for_files(project, "up")
    running.signal(number).finish().dies_of(number)
    ends = runs.ends(project)
    assert len(ends) == 200
    assert {end["state"] for end in ends.values()} == {"cancelled", "not-started"}
    assert len(project.read("up").split()) <= runs.kinds(project).count("task.start")


def test_d14_a_mount_that_allows_no_programs_is_named(project):
    project.tasks("[tasks.a]\nrun = ['disk/tool']\n")
    make = "mkdir disk; mount -t tmpfs -o noexec none disk; printf '#!/bin/sh\\n' > disk/tool; chmod +x disk/tool; "
    finished = in_mounts(project, make + "taskrun run a").exits(1)
    finished.says("a  disk/tool is on a file system mounted with noexec")


def test_d14_a_refusal_that_nobody_can_explain_has_its_name(project):
    project.tasks("[tasks.a]\nrun = ['true']\n")
    env = short_of(project, "host", errno.EPERM, at=2, for_good=True)
    finished = project.taskrun("run", "a", "--events", "events", env=env).exits(1)
    finished.says("a  true: Operation not permitted (EPERM)")
    (end,) = [
        event for line in project.read("events").splitlines() if (event := json.loads(line))["event"] == "task.end"
    ]
    assert end["exit_code"] == 126


def test_d15_a_relative_program_is_looked_for_beside_the_file_and_runs_in_the_folder_of_its_task(project):
    scripts(project)
    project.write("sub/deep/x", "")
    project.write("sub/here", "#!/bin/sh\n").chmod(0o755)
    project.tasks("""
        [tasks.a]
        run = ["./fine"]
        cwd = "sub"
        [tasks.b]
        run = ["./here"]
        cwd = "sub"
    """)
    project.taskrun("run", "a", cwd="sub/deep").succeeds().prints_exactly(f"{project.path}/sub\n")
    project.taskrun("run", "b", cwd="sub").exits(1).says("b  ", "no such file")
