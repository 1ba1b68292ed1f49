"""Promises of the logs: every byte, each stream to be had again, safe names, caps, and no exception for the task."""

from __future__ import annotations

import errno
import os
import random
import string
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrun.record.logfile import LogFile, load_index
from taskrun.record.logs import AttemptLog, IndexFile
from taskrun.record.places import log_name
from taskrun.record.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Writer:
    """A log with everything around it, on a clock that the test moves."""

    def __init__(self, folder: Path, cap: int | None = None, name: str = "t.1.log") -> None:
        self.folder, self.name, self.now = str(folder), name, 0.0
        self.warnings: list[str] = []
        trouble = Trouble(self.warnings.append)
        self.index = IndexFile(os.path.join(self.folder, "logs.index"), trouble)
        self.log = AttemptLog(
            self.folder,
            name,
            cap=cap,
            index=self.index,
            clock=lambda: self.now,
            trouble=trouble,
            changed=lambda _log: None,
            closed=lambda _log: None,
        )

    def write(self, *writes: tuple[str, bytes]) -> Writer:
        for stream, data in writes:
            self.now += 0.004
            self.log.write(stream, data)
        return self

    def close(self) -> Writer:
        self.log.close()
        self.index.close()
        return self

    def read(self) -> LogFile:
        return LogFile(self.folder, self.name, load_index(os.path.join(self.folder, "logs.index")))

    def all(self, stream: str | None = None, most: int = 1 << 20) -> bytes:
        file, at, pieces = self.read(), 0, []
        while at < file.end:
            data, at = file.read(at, most, stream)
            pieces.append(data)
        return b"".join(pieces)

    def raw(self) -> bytes:
        with open(os.path.join(self.folder, "logs", self.name), "rb") as file:
            return file.read()


WRITES = st.lists(
    st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(min_size=1, max_size=40)), min_size=1, max_size=60
)


def joined(writes: list[tuple[str, bytes]], stream: str | None = None) -> bytes:
    return b"".join(data for of, data in writes if stream in {None, of})


# --- every byte, each stream


@given(writes=WRITES, most=st.integers(1, 64))
def test_each_stream_can_be_had_again(tmp_path_factory: pytest.TempPathFactory, writes: list, most: int):
    writer = Writer(tmp_path_factory.mktemp("run")).write(*writes).close()
    assert writer.raw() == joined(writes) == writer.all(None, most)
    for stream in ("stdout", "stderr"):
        assert writer.all(stream, most) == joined(writes, stream)
    assert joined(list(writer.read().pieces(most))) == joined(writes)
    assert joined(list(writer.read().pieces(most)), "stderr") == joined(writes, "stderr")


def test_no_file_is_made_before_the_first_byte(tmp_path: Path):
    writer = Writer(tmp_path)
    assert writer.log.path is None
    writer.write(("stdout", b"")).close()
    assert os.listdir(tmp_path) == []
    assert writer.log.path is None


def test_the_path_is_relative_to_the_runs_folder(tmp_path: Path):
    assert Writer(tmp_path).write(("stdout", b"x")).close().log.path == "logs/t.1.log"


def test_the_index_tells_when_bytes_came(tmp_path: Path):
    writer = Writer(tmp_path)
    for now, stream in ((1.0, "stdout"), (1.005, "stdout"), (1.006, "stderr"), (2.5, "stderr")):
        writer.now = now
        writer.log.write(stream, b"abc")
    index = writer.close().read().index
    assert list(zip(index.starts, index.ends, index.stderr, index.times, strict=True)) == [
        (0, 6, False, 1.0),
        (6, 9, True, 1.006),
        (9, 12, True, 2.5),
    ]


def test_two_logs_share_an_index(tmp_path: Path):
    one, two = Writer(tmp_path, name="a.1.log"), Writer(tmp_path, name="b.1.log")
    for turn in range(300):
        one.write(("stdout", b"a%d\n" % turn), ("stderr", b"A"))
        two.write(("stderr", b"b%d\n" % turn))
    one.close()
    two.close()
    assert one.all("stderr") == b"A" * 300
    assert two.all("stdout") == b""
    assert two.all("stderr") == b"".join(b"b%d\n" % turn for turn in range(300))


def test_what_comes_after_the_end_is_dropped(tmp_path: Path):
    writer = Writer(tmp_path).write(("stdout", b"x")).close()
    writer.log.write("stdout", b"late")
    assert writer.raw() == b"x"


def test_a_log_deleted_under_way_disturbs_nobody(tmp_path: Path):
    writer = Writer(tmp_path).write(("stdout", b"x"))
    os.unlink(tmp_path / "logs" / "t.1.log")
    writer.write(("stdout", b"y")).close()
    assert writer.warnings == []
    assert writer.all() == b""


# --- caps


@given(writes=WRITES, cap=st.integers(1, 400))
def test_a_capped_log_keeps_both_ends(tmp_path_factory: pytest.TempPathFactory, writes: list, cap: int):
    writer = Writer(tmp_path_factory.mktemp("run"), cap).write(*writes).close()
    whole, kept = joined(writes), writer.raw()
    if len(whole) <= cap:
        assert kept == whole
    else:
        head, remark, tail = kept.partition(b"\n[taskrun: ")
        assert head == whole[: cap // 2]
        remark, _, tail = tail.partition(b"]\n")
        assert remark.startswith(b"%d bytes left out" % (len(whole) - cap))
        assert tail == whole[len(whole) - (cap - cap // 2) :]
    assert os.listdir(os.path.dirname(os.path.join(writer.folder, "logs", "x"))) == ["t.1.log"]
    assert writer.all() == kept
    assert set(writer.all("stdout", 7)) <= set(kept)


def test_of_a_capped_log_each_stream_can_be_had_again(tmp_path: Path):
    writes = [("stderr" if n % 3 else "stdout", b"%04d " % n) for n in range(1000)]
    writer = Writer(tmp_path, 1000).write(*writes).close()
    kept = [*writes[:100], *writes[-100:]]
    for stream in ("stdout", "stderr"):
        numbers = [word for word in writer.all(stream).split() if word.isdigit() and len(word) == 4]
        assert numbers == [data.strip() for of, data in kept if of == stream]


def test_a_capped_log_takes_bounded_room_while_it_grows(tmp_path: Path):
    cap, most = 200_000, 0
    writer, rng = Writer(tmp_path, cap), random.Random(1)
    for _ in range(200):
        writer.write(("stdout", rng.randbytes(rng.randrange(1, 40_000))))
        most = max(most, sum(entry.stat().st_size for entry in os.scandir(tmp_path / "logs")))
    assert most <= 2 * cap
    writer.close()
    assert len(writer.raw()) < cap + 200


def test_a_capped_log_whose_writer_was_killed_is_read_from_its_parts(tmp_path: Path):
    writes = [("stdout", b"%06d " % n) for n in range(60_000)]
    writer = Writer(tmp_path, 100_000).write(*writes)
    writer.log.flush()  # the last that a killed process did
    text = writer.all()
    head, tail = text.split(b"\n[taskrun: ")
    assert head == joined(writes)[:50_000]
    assert len(tail) > 50_000
    assert joined(writes).endswith(tail.partition(b"]\n")[2])
    assert writer.all("stderr").startswith(b"\n[taskrun: ")  # the remark alone
    writer.close()


def test_a_capped_log_that_was_half_put_together_is_read_from_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    writes = [("stdout", b"%06d " % n) for n in range(60_000)]
    writer = Writer(tmp_path, 100_000).write(*writes)
    monkeypatch.setattr("taskrun.record.logs._Tail.copy_to", _fail_half_way)
    writer.close()
    assert joined(writes).endswith(writer.all().partition(b"]\n")[2])
    assert len(writer.all()) > 100_000
    assert writer.log.truncated


def _fail_half_way(_self: object, fd: int) -> None:
    os.write(fd, b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


# --- a disk that refuses


class Disk:
    """Stands for ``os.write``: takes so many bytes, then refuses."""

    def __init__(self, room: int, error: int) -> None:
        self.room, self.error, self.refused, self.real = room, error, 0, os.write

    def __call__(self, fd: int, data: bytes) -> int:
        if self.room <= 0:
            self.refused += 1
            raise OSError(self.error, os.strerror(self.error))
        count = self.real(fd, data[: self.room])
        self.room -= count
        return count


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    full = Disk(1000, errno.ENOSPC)
    monkeypatch.setattr("taskrun.record.logs.os.write", full)
    yield full
    monkeypatch.undo()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT])
def test_a_disk_that_refuses_ends_the_log_and_nothing_else(tmp_path: Path, disk: Disk, error: int):
    disk.error = error
    writer = Writer(tmp_path)
    for _ in range(100):
        writer.write(("stdout", b"x" * 64), ("stderr", b"y" * 64))
    disk.room = 1 << 30  # the index has room again
    writer.close()
    assert writer.raw()[:1000] == (b"x" * 64 + b"y" * 64)[:128] * 7 + (b"x" * 64 + b"y" * 64)[:104]
    assert writer.log.truncated == os.strerror(error)
    assert writer.log.written == 100 * 128
    assert len(writer.warnings) == 1
    assert "the log logs/t.1.log ends after 1,000 bytes" in writer.warnings[0]
    assert disk.refused <= 3


def test_a_hundred_logs_on_a_full_disk_warn_once(tmp_path: Path, disk: Disk):
    disk.room = 0
    warnings: list[str] = []
    trouble = Trouble(warnings.append)
    index = IndexFile(str(tmp_path / "logs.index"), trouble)
    for n in range(100):
        log = AttemptLog(
            str(tmp_path),
            f"{n}.log",
            cap=None if n % 2 else 50,
            index=index,
            clock=lambda: 0.0,
            trouble=trouble,
            changed=lambda _log: None,
            closed=lambda _log: None,
        )
        log.write("stdout", b"x")
        log.close()
    index.close()
    assert len(warnings) == 1
    assert len(trouble.clauses) == 1


def test_a_folder_that_cannot_be_made_ends_the_log(tmp_path: Path):
    (tmp_path / "logs").write_text("in the way")
    writer = Writer(tmp_path).write(("stdout", b"x"), ("stdout", b"y")).close()
    assert writer.log.truncated
    assert writer.log.path is None
    assert len(writer.warnings) == 1


# --- a damaged index


def test_bytes_that_the_index_does_not_cover_are_not_lost(tmp_path: Path):
    writer = Writer(tmp_path).write(("stdout", b"a" * 10), ("stderr", b"b" * 10))
    writer.log.flush()
    writer.write(("stdout", b"c" * 10))  # killed before the next flush
    assert writer.all("stderr") == b"b" * 10 + b"c" * 10
    live = writer.read()
    live.waits_for_index = True
    assert live.read(0, 100, "stderr") == (b"b" * 10, 20)
    assert live.read(20, 100, "stderr") == (b"", 20)
    writer.close()
    assert writer.all("stderr") == b"b" * 10


@pytest.mark.parametrize(
    "damage", [b"", b"garbage\n", b'{"log":"t.1.log","at":0,"reads":[10,', b"\xff\xfe\n", b"[]\n", b'{"log":3}\n']
)
def test_a_damaged_line_of_the_index_costs_no_more_than_itself(tmp_path: Path, damage: bytes):
    writer = Writer(tmp_path)
    for stream in ("stdout", "stderr", "stdout"):
        writer.write((stream, stream[3:4].encode() * 10))
        writer.log.flush()
    writer.close()
    path = tmp_path / "logs.index"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + damage + (b"" if damage.endswith(b"\n") or not damage else b"\n") + lines[2])
    assert writer.all() == b"o" * 10 + b"e" * 10 + b"o" * 10
    assert writer.all("stdout") == b"o" * 10 + b"e" * 10 + b"o" * 10  # the middle is anybody's
    assert writer.all("stderr") == b"e" * 10


# --- names


@given(
    one=st.text(min_size=1, max_size=300),
    two=st.text(min_size=1, max_size=300),
    attempt=st.integers(1, 12),
)
def test_no_two_tasks_share_a_file(one: str, two: str, attempt: int):
    names = [log_name(task, attempt) for task in (one, two)]
    for name in names:
        assert set(name) <= set(string.ascii_letters + string.digits + "_.,=@+-~")
        assert len(name) < 130
        assert not name.startswith(".")
    assert (names[0].lower() == names[1].lower()) == (one == two)


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("build", "build.2.log"),
        ("test-unit_3.x", "test-unit_3.x.2.log"),
        ("transcode[clip=in/a.mov]", "transcode_clip=in_a.mov~"),
        ("Build", "Build~"),
        ("über", "ber~"),
        ("../../etc", "etc~"),
        (".hidden", "hidden~"),
        ("x" * 300, "x" * 80 + "~"),
    ],
)
def test_names_are_readable(task: str, name: str):
    assert log_name(task, 2).startswith(name)


def test_tasks_and_attempts_that_look_alike_do_not_clash():
    assert (
        len({log_name(task, n) for task in ("a", "a.1", "a.1.1", "A", "a~", "ä", "a/b", "a_b") for n in (1, 11)}) == 16
    )
