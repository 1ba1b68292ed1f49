"""Promises of a run's folder: private, its own, somewhere at any rate, whole after a crash, and never an exception."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from taskrun import events
from taskrun.model import ResourceError
from taskrun.record import history, pruning
from taskrun.record.checkpoints import LARGEST, Checkpoints
from taskrun.record.folder import NoLog, RunFolder
from taskrun.record.places import is_run_id, new_run_id, state_roots
from taskrun.record.reading import RunRecord, list_runs, open_run
from taskrun.record.summary import Asked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = events.RunStart(
    taskrun="0.1", file="tasks.toml", argv=("taskrun", "run"), cwd="/", jobs=2, tasks=("a", "b"), pid=os.getpid()
)
ASKED = Asked(targets=("a",), assignments={"k": "v"}, extra=("-x",))


class Run:
    """A run that is recorded, event by event."""

    def __init__(self, state: Path | str, *, keep: int | None = 20, environ: dict[str, str] | None = None) -> None:
        self.warnings: list[str] = []
        self.now = 100.0
        self.folder = RunFolder.create(
            str(state),
            new_run_id(time.time()),
            keep=keep,
            environ=environ or {},
            warn=self.warnings.append,
            clock=lambda: self.now,
        )
        self.seq = 0
        self.folder.begin(START, ASKED, 1000.0)
        self.tell(START)

    def tell(self, event: events.AnyEvent) -> None:
        self.seq += 1
        self.folder.write(events.Stamped(seq=self.seq, ts=1000.0 + self.seq, run=self.folder.id, event=event))

    def task(self, name: str, elapsed: float = 1.0, state: str = "succeeded") -> None:
        self.tell(events.TaskStart(task=name, attempt=1))
        log = self.folder.attempt_log(name, 1)
        log.write("stdout", f"{name} says hello\n".encode(errors="replace"))
        log.close()
        self.tell(events.TaskEnd(task=name, attempt=1, state=state, elapsed=elapsed, log=log.path))

    def end(self, status: int = 0) -> None:
        self.tell(events.RunEnd(exit_status=status, elapsed=5.0, counts={"succeeded": 2}))
        self.folder.close()

    def path(self, name: str) -> str:
        return os.path.join(self.folder.path, name)

    def lines(self) -> list[dict]:
        with open(self.path("events.jsonl"), "rb") as file:
            return [json.loads(line) for line in file]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path / ".taskrun")
    yield run
    run.folder.close()


# --- where it lies


def test_a_run_has_a_private_folder_that_git_does_not_see(run: Run, tmp_path: Path):
    assert stat.S_IMODE(os.stat(run.folder.path).st_mode) == 0o700
    for entry in os.scandir(run.folder.path):
        assert stat.S_IMODE(entry.stat().st_mode) == 0o600
    assert (tmp_path / ".taskrun" / ".gitignore").read_text() == "*\n"
    assert os.readlink(tmp_path / ".taskrun" / "runs" / "latest") == run.folder.id
    assert run.folder.warning is None


def test_a_gitignore_of_the_users_own_stays(tmp_path: Path):
    (tmp_path / ".gitignore").write_text("mine\n")
    Run(tmp_path).end()
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


def test_ids_sort_by_age_and_never_clash():
    ids = [new_run_id(1_800_000_000 + n / 1000) for n in range(500)] + [new_run_id(1_800_000_000.5) for _ in range(20)]
    assert ids[:500] == sorted(ids[:500])
    assert len(set(ids)) == 520
    assert all(map(is_run_id, ids))


def test_two_runs_at_once_have_two_folders(tmp_path: Path):
    one, two = Run(tmp_path), Run(tmp_path)
    one.task("a")
    two.task("b")
    one.end()
    two.end(1)
    assert one.folder.path != two.folder.path
    assert {record.summary.exit_status for record in list_runs(str(tmp_path), {})} == {0, 1}


def test_the_same_id_twice_is_refused(run: Run, tmp_path: Path):
    with pytest.raises(ResourceError):
        RunFolder.create(str(tmp_path / ".taskrun"), run.folder.id, keep=5, environ={})


def test_where_the_project_cannot_be_written_the_record_goes_to_the_users_state_folder(tmp_path: Path):
    (tmp_path / "project").write_text("no folder")
    environ = {"XDG_STATE_HOME": str(tmp_path / "xdg")}
    state = str(tmp_path / "project" / ".taskrun")
    run = Run(state, environ=environ)
    assert run.folder.state.startswith(str(tmp_path / "xdg" / "taskrun" / "project-"))
    assert run.folder.warning is not None
    assert "cannot write to" in run.folder.warning
    assert run.folder.state in run.folder.warning
    run.end()
    assert open_run(state, "latest", environ).summary.id == run.folder.id


def test_home_serves_where_there_is_no_xdg_and_relative_ones_are_ignored():
    assert list(state_roots("/p/.taskrun", {"HOME": "/home/me"}))[1].startswith("/home/me/.local/state/taskrun/p-")
    assert len(list(state_roots("/p/.taskrun", {"XDG_STATE_HOME": "x", "HOME": "y"}))) == 1
    assert len(list(state_roots("/p/.taskrun", {}))) == 1
    roots = {list(state_roots(f"/{name}/.taskrun", {"HOME": "/h"}))[1] for name in ("a", "b", "a/b")}
    assert len(roots) == 3


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"cannot write to .*; cannot write to "):
        RunFolder.create(
            str(tmp_path / "file" / "x"), new_run_id(0.0), keep=1, environ={"HOME": str(tmp_path / "file")}
        )


# --- what is in it


def test_a_finished_run_reads_back(run: Run, tmp_path: Path):
    run.task("a", 2.0)
    run.tell(events.TaskEnd(task="b", attempt=0, state="skipped", reason="a failed", cause="a"))
    run.end(1)
    summary = open_run(str(tmp_path / ".taskrun"), "latest", {}).summary
    assert (summary.state, summary.exit_status, summary.asked, summary.plan) == ("finished", 1, ASKED, ("a", "b"))
    assert summary.tasks["a"].log == "logs/a.1.log"
    assert (summary.tasks["b"].cause, summary.tasks["b"].attempts) == ("a", 0)
    assert (summary.started, summary.ended, summary.elapsed) == (1000.0, 1005.0, 5.0)
    assert [line["event"] for line in run.lines()] == ["run.start", "task.start", "task.end", "task.end", "run.end"]
    assert not os.path.exists(run.path("run.json.reserve"))


def test_a_run_under_way_is_running(run: Run, tmp_path: Path):
    record = open_run(str(tmp_path / ".taskrun"), run.folder.id, {})
    assert record.summary.state == "running"
    assert record.summary.pid == os.getpid()
    assert record.is_live
    run.end()
    assert not record.is_live


def test_a_record_that_was_closed_without_an_end_is_aborted(run: Run, tmp_path: Path):
    run.task("a")
    run.folder.close()
    _pretend_another_pid(run)
    assert open_run(str(tmp_path / ".taskrun"), "latest", {}).summary.state == "aborted"


def _pretend_another_pid(run: Run) -> None:
    with open(run.path("run.json"), encoding="utf-8") as file:
        summary = json.load(file)
    summary["process_start"] -= 1  # the pid was used again by a later process
    with open(run.path("run.json"), "w", encoding="utf-8") as file:
        json.dump(summary, file)


def test_ends_are_in_the_file_at_once_and_the_rest_within_a_tenth_of_a_second(run: Run):
    assert run.folder.due == pytest.approx(100.1)
    assert run.lines() == []
    run.now = 100.05
    run.tell(events.TaskStart(task="a", attempt=1))
    assert run.lines() == []
    run.tell(events.TaskEnd(task="a", attempt=1, state="failed"))
    assert len(run.lines()) == 3
    assert run.folder.due is None
    run.tell(events.TaskStart(task="b", attempt=1))
    run.now = 100.2
    run.tell(events.TaskStart(task="c", attempt=1))
    assert len(run.lines()) == 5
    run.tell(events.TaskStart(task="d", attempt=1))
    run.folder.flush()
    assert len(run.lines()) == 6


def test_output_is_in_the_log_and_not_among_the_events(run: Run):
    run.tell(events.TaskOutput(task="a", attempt=1, stream="stdout", data=b"\xff\x00"))
    run.folder.flush()
    assert len(run.lines()) == 1


def test_a_log_that_is_being_written_makes_a_flush_due(run: Run):
    run.folder.flush()
    log = run.folder.attempt_log("a", 1)
    assert run.folder.due is None
    log.write("stderr", b"x")
    assert run.folder.due == pytest.approx(100.1)
    run.folder.flush()
    assert run.folder.due is None
    assert RunRecord(run.folder.path).log("a", 1).index.covered == 1
    log.write("stderr", b"y")
    run.folder.close()
    assert RunRecord(run.folder.path).log("a", 1).index.covered == 2


def test_a_task_may_have_no_log(run: Run):
    log = run.folder.attempt_log("a", 1, cap=False)
    log.write("stdout", b"x")
    log.flush()
    log.close()
    assert isinstance(log, NoLog)
    assert log.path is None
    assert not os.path.exists(run.path("logs"))


def test_no_value_of_the_environment_is_recorded(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET", "s3cr3t-value")
    run.tell(events.TaskStart(task="a", attempt=1, env=("SECRET",)))
    run.end()
    for entry in os.scandir(run.folder.path):
        with open(entry.path, "rb") as file:
            assert b"s3cr3t-value" not in file.read()


def test_closing_twice_is_closing_once(run: Run):
    run.end()
    run.folder.close()
    run.folder.flush()


# --- pruning


def test_the_oldest_runs_are_thrown_away(tmp_path: Path):
    ids = []
    for _ in range(6):
        run = Run(tmp_path, keep=3)
        ids.append(run.folder.id)
        run.task("a")
        run.end()
    assert [record.summary.id for record in list_runs(str(tmp_path), {})] == ids[-3:]
    assert sorted(os.listdir(tmp_path / "runs")) == [*ids[-3:], "latest"]


def test_who_is_not_to_look_for_old_runs_throws_none_away(tmp_path: Path):
    for keep in (1, None, None):
        Run(tmp_path, keep=keep).end()
    assert len(list_runs(str(tmp_path), {})) == 3


def test_a_run_under_way_is_never_thrown_away(tmp_path: Path):
    live = Run(tmp_path, keep=1)
    for _ in range(3):
        Run(tmp_path, keep=1).end()
    assert os.path.exists(live.folder.path)
    live.end()
    Run(tmp_path, keep=1).end()
    assert not os.path.exists(live.folder.path)


def test_a_run_is_live_by_its_pid_where_locks_do_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("taskrun.record.liveness.fcntl.flock", _no_locks)
    live = Run(tmp_path, keep=1)
    assert pruning.is_live(live.folder.path)
    Run(tmp_path, keep=1).end()
    assert os.path.exists(live.folder.path)
    _pretend_another_pid(live)
    assert not pruning.is_live(live.folder.path)
    live.folder.close()


def _no_locks(_fd: int, _how: int) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def test_foreign_folders_are_left_alone(tmp_path: Path):
    os.makedirs(tmp_path / "runs" / "mine")
    os.makedirs(tmp_path / "runs" / "20200101-000000.000-abcd")
    os.utime(tmp_path / "runs" / "20200101-000000.000-abcd", (0, 0))
    Run(tmp_path, keep=1).end()
    assert os.path.exists(tmp_path / "runs" / "mine")
    assert not os.path.exists(tmp_path / "runs" / "20200101-000000.000-abcd")


# --- finding runs


def test_runs_are_found_by_id_its_beginning_and_its_end(tmp_path: Path):
    one, two = Run(tmp_path), Run(tmp_path)
    for run in (one, two):
        run.end()
    state = str(tmp_path)
    assert open_run(state, "latest", {}).summary.id == max(one.folder.id, two.folder.id)
    assert open_run(state, one.folder.id, {}).summary.id == one.folder.id
    assert open_run(state, one.folder.id.rpartition("-")[2], {}).summary.id == one.folder.id
    for which, message in (("2", "could be any of 2"), ("nope", "no run `nope`")):
        with pytest.raises(Exception, match=message):
            open_run(state, which, {})
    with pytest.raises(Exception, match="no run is recorded yet"):
        open_run(str(tmp_path / "empty"), "latest", {})


def test_a_damaged_record_costs_no_more_than_what_is_damaged(run: Run, tmp_path: Path):
    run.task("a")
    run.end()
    lines = run.lines()
    with open(run.path("events.jsonl"), "rb") as file:
        raw = file.read().splitlines(keepends=True)
    with open(run.path("events.jsonl"), "wb") as file:
        file.write(raw[0] + b"\x00garbage\xff\n" + raw[1] + b'{"v":1,"event":"from.the.future"}\n\n' + raw[2][:40])
    record = open_run(str(tmp_path / ".taskrun"), "latest", {})
    assert [stamped.seq for stamped in record.events()] == [line["seq"] for line in lines[:2]]
    assert record.skipped == 3
    with open(run.path("run.json"), "w", encoding="utf-8") as file:
        file.write('{"id": 3')
    os.utime(run.folder.path, (0, 0))
    assert open_run(str(tmp_path / ".taskrun"), "latest", {}).summary.state == "aborted"
    os.unlink(run.path("events.jsonl"))
    assert list(RunRecord(run.folder.path).events()) == []


def test_logs_are_read_by_task_attempt_and_stream(run: Run):
    log = run.folder.attempt_log("a[x=1]", 2)
    log.write("stdout", b"out\n")
    log.write("stderr", b"err\n")
    log.close()
    run.folder.flush()
    record = RunRecord(run.folder.path)
    assert b"".join(record.read_log("a[x=1]", 2)) == b"out\nerr\n"
    assert b"".join(record.read_log("a[x=1]", 2, "stderr")) == b"err\n"
    assert list(record.read_log("a[x=1]", 1)) == []


def test_the_attempts_of_a_run_are_listed(run: Run):
    run.task("a")
    run.tell(events.TaskStart(task="b", attempt=1))
    run.tell(events.TaskRetry(task="b", attempt=1, why="exit 1", delay=1.0))
    run.tell(events.TaskStart(task="b", attempt=2))
    run.tell(events.TaskEnd(task="c", attempt=0, state="skipped"))
    run.folder.flush()
    assert RunRecord(run.folder.path).attempts() == {"a": 1, "b": 2}


@pytest.mark.parametrize("cap", [None, 1 << 20])
@pytest.mark.parametrize("stream", [None, "stdout"])
def test_a_log_can_be_followed_while_it_is_written(run: Run, stream: str | None, cap: int | None):
    record, got, wrote = RunRecord(run.folder.path), b"", b""
    log = run.folder.attempt_log("a", 1, cap=cap)
    follow = record.follow("a", 1, stream)
    for n in range(5):
        log.write("stdout", b"%d\n" % n)
        log.write("stderr", b"noise\n")
        wrote += b"%d\n" % n if stream else b"%d\nnoise\n" % n
        run.folder.flush()
        while piece := next(follow):
            got += piece
        assert got == wrote
    log.write("stdout", b"last\n")
    log.close()
    run.tell(events.TaskEnd(task="a", attempt=1, state="succeeded"))
    assert got + b"".join(follow) == wrote + b"last\n"


def test_following_ends_with_the_run(run: Run):
    log = run.folder.attempt_log("a", 1)
    log.write("stdout", b"x")
    record = RunRecord(run.folder.path)
    run.end()
    assert list(record.follow("a", 1)) == [b"x"]
    assert list(record.follow("never", 1)) == []


def test_tasks_whose_names_are_no_utf8_are_recorded_all_the_same(run: Run, tmp_path: Path):
    run.task("t[caf\udce9.mov]")
    run.end()
    assert run.warnings == []
    record = open_run(str(tmp_path / ".taskrun"), "latest", {})
    assert list(record.summary.tasks) == ["t[caf\ufffd.mov]"]
    assert history.load(run.folder.state) == {"t[caf\ufffd.mov]": 1.0}


# --- history and checkpoints


def test_durations_of_successes_are_kept(tmp_path: Path):
    for seconds in (9.0, 1.0, 2.0, 3.0, 4.0, 5.0):
        run = Run(tmp_path)
        run.task("a", seconds)
        run.task("b", 7.0, state="failed")
        run.end()
    assert history.load(str(tmp_path)) == {"a": 3.0}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"tasks":{"a":"x"}}', b"\xff"])
def test_a_damaged_history_is_an_empty_one(tmp_path: Path, damage: bytes):
    (tmp_path / "history.json").write_bytes(damage)
    assert history.load(str(tmp_path)) == {}
    history.add(str(tmp_path), {"a": 1.0})
    assert history.load(str(tmp_path)) == {"a": 1.0}


def test_runs_that_end_at_once_all_get_into_the_history(tmp_path: Path):
    code = """
import sys
from taskrun.record import history
history._PATIENCE = 60.0  # on a busy machine; in earnest a run rather loses a duration than waits
for n in range(20):
    history.add(sys.argv[1], {f"{sys.argv[2]}-{n}": 1.0})
"""
    children = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)]) for n in range(4)]
    assert [child.wait(60) for child in children] == [0] * 4
    assert len(history.load(str(tmp_path))) == 80


def test_history_does_not_grow_for_ever_and_forgets_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(history, "_MOST_TASKS", 3)
    for name in "abcad":
        history.add(str(tmp_path), {name: 1.0})
    assert list(history.load(str(tmp_path))) == ["c", "a", "d"]


def test_history_that_cannot_be_written_is_nobodys_concern(tmp_path: Path):
    history.add(str(tmp_path / "missing"), {"a": 1.0})
    assert history.load(str(tmp_path / "missing")) == {}


def test_a_checkpoint_is_kept_until_it_is_deleted(tmp_path: Path):
    checkpoints = Checkpoints(str(tmp_path / "state"))
    assert checkpoints.load("abc123") is None
    checkpoints.save("abc123", b'{"at":1}')
    checkpoints.save("abc123", b'{"at":2}')
    assert Checkpoints(str(tmp_path / "state")).load("abc123") == b'{"at":2}'
    checkpoints.delete("abc123")
    checkpoints.delete("abc123")
    assert checkpoints.load("abc123") is None
    assert os.listdir(tmp_path / "state" / "checkpoints") == []


def test_a_checkpoint_is_on_disk_before_save_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []
    fsync, rename = os.fsync, os.rename
    monkeypatch.setattr("os.fsync", lambda fd: (calls.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr("os.rename", lambda a, b: (calls.append("rename"), rename(a, b))[1])
    Checkpoints(str(tmp_path)).save("a", b"1")
    assert calls == ["fsync", "rename", "fsync"]


def test_a_checkpoint_that_fails_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    checkpoints = Checkpoints(str(tmp_path))
    checkpoints.save("a", b"1")
    with pytest.raises(ValueError, match="at most 1,048,576 bytes"):
        checkpoints.save("a", b"x" * (LARGEST + 1))

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ResourceError, match="no space left"):
        checkpoints.save("a", b"2")
    assert checkpoints.load("a") == b"1"
    assert os.listdir(tmp_path / "checkpoints") == ["a.json"]


def test_a_key_is_no_path(tmp_path: Path):
    for key in ("../x", "", "a/b", "ä"):
        with pytest.raises(ValueError, match="not a checkpoint's key"):
            Checkpoints(str(tmp_path)).save(key, b"")


# --- disks that refuse, and kills


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "none", str(path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no permission to mount a small disk")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_on_a_full_disk_the_run_goes_on_and_its_end_is_recorded(small_disk: Path):
    run = Run(small_disk)
    run.task("before")
    log = run.folder.attempt_log("a", 1)
    for _ in range(10):
        log.write("stdout", b"x" * 65536)
    log.close()
    for n in range(2000):
        run.tell(events.TaskEnd(task=f"task-{n}", attempt=1, state="succeeded"))
    run.end()
    assert log.truncated
    assert 1 <= len(run.warnings) <= 4
    assert len(run.folder.troubles) == len(run.warnings)
    record = open_run(str(small_disk), "latest", {})
    assert (record.summary.state, record.summary.exit_status) == ("finished", 0)
    assert b"".join(record.read_log("before", 1)) == b"before says hello\n"
    kept = b"".join(record.read_log("a", 1))
    assert kept == b"x" * len(kept) != b""
    assert next(iter(record.events())).event == START


def test_on_a_read_only_disk_the_record_goes_elsewhere(small_disk: Path, tmp_path: Path):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    run = Run(small_disk / ".taskrun", environ={"HOME": str(tmp_path)})
    assert run.folder.warning is not None
    assert "read-only file system" in run.folder.warning
    run.end()


CHILD = """
import os, resource, sys
sys.path.insert(0, sys.argv[2])
from test_record_folder import Run
from taskrun import events
run = Run(sys.argv[1])
"""


def child(state: Path, code: str) -> subprocess.Popen[bytes]:
    here = os.path.dirname(os.path.abspath(__file__))
    return subprocess.Popen([sys.executable, "-c", CHILD + code, str(state), here], stdout=subprocess.PIPE)


def test_a_limit_on_file_sizes_ends_logs_and_events_and_nothing_else(tmp_path: Path):
    code = """
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
log = run.folder.attempt_log("a", 1)
for _ in range(100): log.write("stdout", b"x" * 1000)
for n in range(1000): run.task(f"t{n}")
log.close()
run.end(7)
print(log.truncated, len(run.warnings))
"""
    process = child(tmp_path, code)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert stdout.decode().split()[:3] == ["File", "too", "large"]
    record = open_run(str(tmp_path), "latest", {})
    assert record.summary.exit_status == 7
    assert len(b"".join(record.read_log("a", 1))) == 20_000


@pytest.mark.parametrize("seed", range(3))
def test_after_a_kill_in_the_middle_of_writing_all_that_was_written_is_valid(tmp_path: Path, seed: int):
    code = f"""
import random
rng = random.Random({seed})
log, n = run.folder.attempt_log("busy", 1), 0
print("going", flush=True)
while True:
    n += 1
    log.write(rng.choice(["stdout", "stderr"]), b"%d\\n" % n)
    run.task(f"t{{n}}")
    run.now += 0.01
    if run.folder.due and run.folder.due <= run.now: run.folder.flush()
"""
    process = child(tmp_path, code)
    assert process.stdout is not None
    assert process.stdout.readline() == b"going\n"
    deadline = time.monotonic() + 30
    events_file = next((tmp_path / "runs").glob("2*/events.jsonl"))
    while events_file.stat().st_size < 20_000 * (seed + 1) and time.monotonic() < deadline:
        time.sleep(0.002)
    assert open_run(str(tmp_path), "latest", {}).summary.state == "running"
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    process.stdout.close()
    record = open_run(str(tmp_path), "latest", {})
    assert record.summary.state == "aborted"
    seqs = [stamped.seq for stamped in record.events()]
    assert seqs == list(range(1, len(seqs) + 1))
    assert record.skipped <= 1
    lines = b"".join(record.read_log("busy", 1)).split()
    assert lines == [b"%d" % n for n in range(1, len(lines) + 1)]
    for task in list(record.attempts())[:-1]:
        assert b"".join(record.read_log(task, 1)) == f"{task} says hello\n".encode()
    Run(tmp_path, keep=1).end()
    assert not os.path.exists(record.path)
