"""Every write of a record fails in turn: the record says so, keeps what it has, and reads back."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from support.faulty import DiskFaults
from support.injection import at_each_step

from taskrun import events
from taskrun.model import ResourceError
from taskrun.record import liveness
from taskrun.record.folder import RunFolder
from taskrun.record.places import new_run_id
from taskrun.record.reading import list_runs
from taskrun.record.summary import Asked

if TYPE_CHECKING:
    from pathlib import Path

    from support.injection import Injected

PLAIN = b"".join(b"line %d\n" % n for n in range(100))
CAPPED = b"".join(b"%06d\n" % n for n in range(20_000))
SAVED = b'{"half":"way"}'


class Recorded:
    """A run with a log, a capped log and a checkpoint, recorded by the real record.

    Attributes:
        warnings: What the user was told.
        status: The exit status, as the last event has it.
        saved: Whether the checkpoint was acknowledged.
    """

    def __init__(self, folder: Path) -> None:
        self.warnings: list[str] = []
        self.saved = False
        self.state = str(folder / ".taskrun")
        self.environ = {"XDG_STATE_HOME": str(folder / "xdg")}
        run_id = new_run_id(1_700_000_000.0)
        self.folder = RunFolder.create(self.state, run_id, keep=20, environ=self.environ, warn=self.warnings.append)
        self._seq = 0
        start = events.RunStart(taskrun="0.1", file="f", argv=(), cwd="/", jobs=1, tasks=("plain", "capped"), pid=1)
        self.folder.begin(start, Asked(), 1000.0)
        self.tell(start)
        self.task("plain", PLAIN, None)
        self.save()
        self.task("capped", CAPPED, 70_000)
        end = self.folder.seal(lambda: events.RunEnd(exit_status=125 if self.folder.failed else 0), 1001.0)
        self.status = end.exit_status
        assert self.status == (125 if self.folder.failed else 0)  # what fails later is told, and the process's to say
        self.tell(end)
        self.folder.close()

    def tell(self, event: events.AnyEvent) -> None:
        self._seq += 1
        self.folder.write(events.Stamped(seq=self._seq, ts=1000.5, run=self.folder.id, event=event))

    def task(self, name: str, data: bytes, cap: int | None) -> None:
        self.tell(events.TaskStart(task=name, attempt=1))
        log = self.folder.attempt_log(name, 1, cap=cap)
        for at in range(0, len(data), 4096):
            log.write("stderr" if at % 8192 else "stdout", data[at : at + 4096])
            self.folder.flush()
        log.close()
        self.tell(events.TaskEnd(task=name, attempt=1, state="succeeded", elapsed=1.0, log=log.path))

    def save(self) -> None:
        try:
            self.folder.checkpoints.save("abc", SAVED)
        except ResourceError:
            return
        self.saved = True


def steps(folder: Path) -> list[str]:
    """What recording such a run does to the disk."""
    with DiskFaults(str(folder), 0, 0, for_good=False) as faults:
        Recorded(folder)
    return faults.steps


def reads_back(run: Recorded) -> None:
    """What is on the disk is valid, and what is missing was told."""
    (record,) = list_runs(run.state, run.environ)
    told = list(record.events())
    assert record.skipped <= 1
    assert [stamped.seq for stamped in told] == sorted({stamped.seq for stamped in told})
    plain, capped = (b"".join(record.read_log(name, 1)) for name in ("plain", "capped"))
    assert PLAIN.startswith(plain)
    assert CAPPED.startswith(capped[:1000])
    missing = plain != PLAIN or b"left out" not in capped or not CAPPED.endswith(capped[-1000:]) or len(told) < 6
    assert not missing or run.folder.failed
    assert run.folder.failed == bool(run.warnings)
    if record.summary.state == "finished":
        assert record.summary.exit_status == run.status
    else:
        assert record.summary.state == "aborted"
        assert any("run.json" in clause for clause in run.warnings)
    assert not run.saved or run.folder.checkpoints.load("abc") == SAVED


@pytest.mark.parametrize("for_good", [False, True])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_every_write_of_a_record_fails_in_turn(tmp_path, monkeypatch, number, for_good):
    monkeypatch.setattr(liveness, "is_process", lambda *_: False)  # the process that wrote it is this one
    (tmp_path / "whole").mkdir()
    count = len(steps(tmp_path / "whole"))
    assert count > 40
    before = len(os.listdir("/proc/self/fd"))
    for at in range(1, count + 1):
        folder = tmp_path / str(at)
        folder.mkdir()
        run, refused = None, ""
        with DiskFaults(str(folder), at, number, for_good=for_good, short=number == errno.ENOSPC) as faults:
            try:
                run = Recorded(folder)
            except ResourceError as error:  # nothing has been started yet
                refused = str(error)
        try:
            if run is not None:
                reads_back(run)
            else:
                assert for_good
                assert os.strerror(number).lower() in refused
            assert len(os.listdir("/proc/self/fd")) == before
        except AssertionError as error:
            error.add_note(f"step {at}, {faults.failed}; told: {None if run is None else run.warnings}")
            raise


LOUD = """
    [tasks.capped]
    shell = "seq 1 20000"
    log = "66KiB"
    [tasks.plain]
    needs = ["capped"]
    shell = "echo out; echo err >&2"
"""
CONVENIENCES = ("symlink", "rename .latest", "history.json", "reserve")  # what fails of these is nobody's loss
WORDS = {errno.ENOSPC: "no space left on device", errno.EIO: "input/output error"}


def test_a_run_whose_record_cannot_be_written_runs_all_the_same_and_says_so(tmp_path, oracle):
    def disk_fails(it: Injected) -> None:
        it.project.tasks(LOUD)
        finished = it.taskrun("run", "plain", "capped", "--output", "stream")
        assert finished.out.splitlines() == [*(b"capped | %d" % n for n in range(1, 20_001)), b"plain | out"]
        finished.says("plain | err", "2 tasks: 2 ok")
        if not it.struck:
            finished.succeeds()
        elif finished.status or not any(word in it.step for word in CONVENIENCES):
            assert WORDS[it.plan["errno"]] in finished.stderr, finished.stderr
            assert finished.status == (0 if "the record is in" in finished.stderr else 125), finished.stderr
            it.oracle.excuse("O5", "it is not whole, and says so")

    ways = [{"errno": number, "for_good": for_good} for number in WORDS for for_good in (False, True)]
    plan = {"what": "disk", "role": "runner", "errno": 0, "for_good": False}
    at_each_step(tmp_path, plan, disk_fails, oracle=oracle, usual=6, ways=lambda _text: ways)
