"""Whole captured streams through splitter, parser and tracker: the same in any pieces, never falling, ending at 1."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from taskrun.model import ProgressSource
from taskrun.output.reader import ProgressReader
from taskrun.output.samples import Line, Message, Output, Sample, Status, Unknown
from taskrun.output.tracker import Tracker

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "progress"
REGEX = r"^Progress (?P<current>\d+) of (?P<total>\d+)$"
CASES = [  # file, parser, how many samples, the last fraction
    ("ffmpeg_stderr.txt", "ffmpeg", 5, 0.983),
    ("tqdm.txt", "tqdm", 17, 1.0),
    ("ninja.txt", "fraction", 12, 1.0),
    ("pip_raw.txt", "fraction", None, 1.0),
    ("cmake_make.txt", "percent", 6, 1.0),
    ("pytest_v.txt", "percent", 91, 1.0),
    ("7zz_bsp1.txt", "percent", 79, 0.99),
    ("curl_hash.txt", "percent", 13, 1.0),
    ("pip_raw.txt", "regex", None, 1.0),
]
FOREIGN = sorted(path.name for path in FIXTURES.glob("*.txt"))


def read(name: str, parser: str, seed: int | None, stream: str = "stderr") -> list[Line]:
    reader = ProgressReader(ProgressSource(parser=parser, regex=REGEX if parser == "regex" else None))
    data, rng, said, at = (FIXTURES / name).read_bytes(), random.Random(seed), [], 0
    while at < len(data):
        size = len(data) if seed is None else rng.choice([1, 7, 100, 4096])
        said += reader.feed_output(stream, data[at : at + size], 0.0)
        at += size
    return said + reader.flush(0.0)


@pytest.mark.parametrize(("name", "parser", "count", "last"), CASES)
def test_a_captured_stream_rises_to_its_end(name: str, parser: str, count: int | None, last: float):
    said = read(name, parser, None)
    assert count is None or len(said) == count
    tracker, fractions, phase = Tracker(), [], None
    for now, sample in enumerate(said):
        update = tracker.add(sample, float(now))
        if update is not None:
            fractions = fractions if update.phase == phase else []
            phase = update.phase
            fractions.append(update.fraction)
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(last, abs=0.001)
    final = tracker.final(success=True, now=1e6)
    assert (final.fraction if final is not None else fractions[-1]) == 1.0


@pytest.mark.parametrize(("name", "parser", "_count", "_last"), CASES)
@pytest.mark.parametrize("seed", range(5))
def test_pieces_do_not_change_what_is_read(name: str, parser: str, seed: int, _count: object, _last: object):
    assert read(name, parser, seed) == read(name, parser, None)


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("parser", ["percent", "fraction", "tqdm", "ffmpeg"])
def test_other_programs_streams_do_no_harm(name: str, parser: str):
    for sample in read(name, parser, 1):
        assert isinstance(sample, Sample)


def test_a_banner_is_no_progress():
    assert read("ffmpeg_stderr.txt", "percent", None) == []
    assert read("aria2c.txt", "percent", None) == []
    assert read("aria2c.txt", "fraction", None) == []


def test_only_the_stream_that_was_asked_for_is_parsed():
    reader = ProgressReader(ProgressSource(parser="percent", stream="stdout"))
    assert reader.feed_output("stderr", b"10%\n", 0) == []
    assert reader.feed_output("stdout", b"10%\n", 0) == [Sample(fraction=0.1)]


def test_marked_lines_count_on_both_streams_whatever_the_parser():
    reader = ProgressReader(ProgressSource(parser="percent", stream="stdout"))
    assert reader.feed_output("stderr", b"::taskrun status a\nx::taskrun status b\n", 0) == [Status(text="a")]
    assert reader.feed_output("stdout", b"::taskrun status c", 0) == []
    assert reader.flush(0) == [Status(text="c")]


def test_without_a_parser_nothing_is_split():
    reader = ProgressReader()
    reader.feed_output("stdout", b"10%\n" * 1000, 0)
    assert reader._splitters == {}


def test_the_channel_takes_the_protocol_and_ffmpegs_blocks_side_by_side():
    reader = ProgressReader(ProgressSource(parser="ffmpeg", total=10.0))
    said = reader.feed_channel(b"frame=5\nout_time_us=2500000\nspeed=2x\nprogress=continue\nwarn slow\noutput a=b\n", 0)
    assert said == [
        Sample(current=2.5, total=10.0, message="frame 5, 2x"),
        Message(level="warning", text="slow"),
        Output(key="a", value="b"),
    ]
    assert isinstance(ProgressReader().feed_channel(b"frame=5\n", 0)[0], Unknown)


def test_ten_megabytes_without_a_line_end_are_over_soon_and_read_as_nothing():
    reader = ProgressReader(ProgressSource(parser="regex", regex=r"(?P<percent>\d+)%"))
    for _ in range(160):
        assert reader.feed_output("stdout", b"\x00" * 65536, 0) == []
    assert reader.feed_output("stdout", b"\n42%\n", 0) == [Sample(fraction=0.42)]


def test_colour_and_cursor_movements_do_not_hide_progress():
    reader = ProgressReader(ProgressSource(parser="percent"))
    assert reader.feed_output("stdout", b"\x1b[2K\x1b[32m42%\x1b[0m copying\r", 0) == [
        Sample(fraction=0.42, message="copying")
    ]
