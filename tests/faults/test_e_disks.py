"""Rows E1 to E5, E12: disks that are full or read-only, records that vanish, two runs at once."""

from __future__ import annotations

import json
import os

import pytest
from support import runs
from support.mounts import in_mounts

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


def test_e1_a_disk_that_fills_up_costs_the_record_and_not_the_tasks(project):
    project.tasks(LOUD)
    run = "status=0; taskrun run loud quiet || status=$?; echo status $status >&2; "
    look = "cp -r disk/state kept; taskrun runs; taskrun logs quiet; taskrun logs loud | wc -c"
    finished = in_mounts(project, SMALL.format("256k") + run + look)
    finished.says("warning: the log logs/loud.1.log ends after", "no space left on device")
    finished.says("Summary", "2 tasks: 2 ok", "status 125")
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


def test_e1_a_task_that_fails_counts_more_than_a_full_disk(project):
    project.tasks(LOUD)
    in_mounts(project, SMALL.format("256k") + "taskrun run loud quiet status=3").exits(1)


@pytest.mark.parametrize("why", ["full", "read-only"])
def test_e2_where_no_record_can_be_begun_it_goes_to_the_users_state_folder_or_nothing_is_started(project, why):
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


def test_e2_a_read_only_project_is_run_like_any_other(project):
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


def test_e3_a_limit_of_file_size_is_the_logs_affair_and_the_tasks_own(project):
    project.tasks("""
        [tasks.loud]
        shell = "seq 1 100000"
        [tasks.writes]
        run = ["python3", "-c", "import signal; print(signal.getsignal(signal.SIGXFSZ).name)"]
        [tasks.grows]
        run = ["dd", "if=/dev/zero", "of=zeros", "bs=1000000", "count=1"]
    """)
    finished = project.sh("(ulimit -f 100; taskrun run loud) | cat").exits(125)
    finished.says("the log logs/loud.1.log ends after 102,400 bytes: file too large")
    assert finished.stdout == "".join(f"{n}\n" for n in range(1, 100_001))
    project.sh("ulimit -f 100; exec taskrun run grows").exits(1).says("grows  killed by SIGXFSZ")


WRITES_TWICE = """
    [tasks.first]
    shell = "echo one; until [ -e go ]; do sleep 0.02; done; echo two"
    [tasks.second]
    needs = ["first"]
    shell = "echo three"
    [tasks.both]
    needs = ["second"]
"""


def test_e4_a_log_that_is_removed_under_way_is_noted_at_the_end(project, oracle):
    oracle.excuse("O5", "a log is gone, and that is what is told")
    project.tasks(WRITES_TWICE)
    running = project.start("run", "both").wait_for("first | one")
    runs.wait_until(lambda: list(runs.folder(project).glob("logs/*")), "there is a log")
    (runs.folder(project) / "logs" / "first.1.log").unlink()
    project.write("go", "")
    finished = running.finish().succeeds().prints_exactly("first | one\nfirst | two\nsecond | three\n")
    finished.says("warning: removed while the run wrote to it: logs/first.1.log", "Summary", "2 tasks: 2 ok")
    assert runs.summary(project)["trouble"] == ["removed while the run wrote to it: logs/first.1.log"]
    project.taskrun("logs", "second").succeeds().prints_exactly("three\n")


@pytest.mark.parametrize("when", ["before the last task", "during the last task"])
def test_e4_a_record_that_is_removed_under_way_is_noted_at_the_end(project, when):
    project.tasks(WRITES_TWICE)
    target = "both" if when == "before the last task" else "first"
    running = project.start("run", "first", target, "--output", "stream").wait_for("one")
    runs.wait_until(lambda: list(runs.folder(project).glob("logs/*")), "there is a log")
    project.sh("until rm -rf .taskrun; do :; done").succeeds()  # where the run makes a file amid it, once more
    project.write("go", "")
    finished = running.finish().succeeds().says("warning: the record was removed while it was written: ", "Summary")
    assert ("three" in finished.stdout) == (target == "both")
    assert not (project.path / ".taskrun").exists()


FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")


@FULL
@pytest.mark.parametrize("stream", ["1", "2"])
def test_e5_output_that_cannot_be_written_cancels_the_run(project, stream):
    project.tasks("""
        [tasks.a]
        shell = "echo hello; exec sleep 71.25"
        [tasks.b]
        run = ["true"]
    """)
    project.sh(f"taskrun run a b --output stream {stream}>/dev/full").exits(125)
    told = f"std{'out' if stream == '1' else 'err'} cannot be written: No space left on device"
    (cancel,) = [event for event in runs.events(project) if event["event"] == "run.cancel"]
    assert cancel["reason"] == told
    assert runs.summary(project)["exit_status"] == 125
    assert runs.states(project)["a"] == "cancelled"


@FULL
def test_e5_a_task_that_fails_counts_more_than_output_that_cannot_be_written(project):
    project.tasks("[tasks.a]\nshell = 'exit 3'\nfinally = ['b']\n[tasks.b]\nrun = ['echo', 'hello']\n")
    project.sh("taskrun run a --output stream >/dev/full").exits(1)


def test_e12_two_runs_in_one_project_have_a_folder_each(project):
    project.tasks("""
        [tasks.a]
        shell = ": > up-{{ vars.name }}; until [ -e up-one ] && [ -e up-two ]; do sleep 0.02; done; echo {{ vars.name }}"
        [vars]
        name = "none"
    """)
    both = [project.start("run", "a", f"name={name}") for name in ("one", "two")]
    for running, name in zip(both, ("one", "two"), strict=True):
        running.finish().succeeds().prints_exactly(f"{name}\n")
    listed = project.taskrun("runs", "--json").succeeds().json()
    assert [run["state"] for run in listed] == ["finished", "finished"]
    logs = {project.taskrun("logs", "--run", run["id"], "a").succeeds().stdout for run in listed}
    assert logs == {"one\n", "two\n"}
    # Neither loses what the other has measured.
    assert len(json.loads((project.path / ".taskrun" / "history.json").read_text())["tasks"]["a"]) == 2
