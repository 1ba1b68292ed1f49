"""Promises about ffmpeg: its command line is read as it reads it, and a real one's progress reaches the end."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from taskrun.model import ProgressSource
from taskrun.output import ffmpeg
from taskrun.output.ffmpeg_progress import FfmpegParser
from taskrun.output.reader import ProgressReader
from taskrun.output.samples import Line, Sample
from taskrun.output.tracker import Tracker

if TYPE_CHECKING:
    from pathlib import Path

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg here")


def argv(text: str) -> list[str]:
    return ["ffmpeg", *text.split()]


# --- the command line


@pytest.mark.parametrize(
    ("program", "is_one"),
    [
        ("ffmpeg", True),
        ("/opt/ffmpeg/bin/ffmpeg", True),
        ("ffmpeg-7.1", True),
        ("ffmpeg5", True),
        ("ffprobe", False),
        ("ffmpegfs", False),
        ("sh", False),
    ],
)
def test_ffmpeg_is_known_by_its_name(program: str, *, is_one: bool):
    assert ffmpeg.is_ffmpeg([program, "-i"]) is is_one
    assert ffmpeg.is_ffmpeg([]) is False


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ("-i a b", "-progress file:/p -nostats -nostdin"),
        ("-nostdin -i a b", "-progress file:/p -nostats"),
        ("-stdin -i a b", "-progress file:/p -nostats"),
        ("-stats -i a b", "-progress file:/p -nostdin"),
        ("-i a -nostats b", "-progress file:/p -nostdin"),
        ("-progress mine -i a b", "-nostdin"),
    ],
)
def test_only_what_the_user_did_not_say_is_added(given: str, added: str):
    assert ffmpeg.instrument(argv(given), "/p") == ("ffmpeg", *added.split(), *given.split())


def test_inputs_have_the_options_before_them():
    sources = ffmpeg.inputs(argv("-y -ss 5 -i a.mov -f lavfi -t 3 -i testsrc -map 0:v -c:v libx264 -an out.mp4"))
    assert [(source.url, source.options) for source in sources] == [
        ("a.mov", {"y": "", "ss": "5"}),
        ("testsrc", {"f": "lavfi", "t": "3"}),
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("90", 90),
        ("1.5", 1.5),
        (".5", 0.5),
        ("01:30", 90),
        ("1:00:01.5", 3601.5),
        ("200ms", 0.2),
        ("3s", 3),
        ("5000000us", 5),
        ("-10", -10),
        ("", None),
        ("x", None),
        ("1:2:3:4", None),
    ],
)
def test_durations_are_read_as_ffmpeg_reads_them(text: str, value: float | None):
    assert ffmpeg.seconds(text) == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize(
    ("given", "lengths", "total"),
    [
        ("-i a b", [60], 60),
        ("-i a b", [None], None),
        ("-i a b", [], None),
        ("-i a -t 5 b", [], 5),
        ("-i a -t 100 b", [60], 60),
        ("-ss 10 -i a b", [60], 50),
        ("-ss 10 -to 30 -i a b", [60], 20),
        ("-ss 10 -i a -t 100 b", [60], 50),
        ("-sseof -5 -i a b", [60], 5),
        ("-t 5 -i a b", [None], 5),
        ("-i a -ss 10 b", [60], 50),
        ("-i a -ss 70 b", [60], None),
        ("-i a -i b c", [60, 20], 60),
        ("-i a -i b -shortest c", [60, 20], 20),
        ("-i a -i logo.png -filter_complex overlay c", [60, None], 60),
        ("-i a -i b -filter_complex [0][1]concat=n=2 c", [60, 20], 80),
        ("-i a -t 5 b -t 7 c", [60], 7),
        ("-i a -t 5 b c", [60], 60),
        ("-stream_loop 2 -i a b", [10], 30),
        ("-stream_loop -1 -i a b", [10], None),
        ("-stream_loop -1 -i a -t 25 b", [10], 25),
        ("-loop 1 -i still.png -i song.mp3 -shortest b", [0.04, 180], 180),
        ("-f lavfi -i testsrc=duration=8:size=64x64 b", [None], 8),
        ("-f lavfi -i testsrc b", [None], None),
        ("-f lavfi -i sine=f=440:d=2.5 b", [None], 2.5),
        ("-f lavfi -i testsrc=d=5,scale=2:2 b", [None], None),
        ("-f x11grab -i :0 -t 9 b", [], 9),
        ("-itsoffset 2 -i a b", [10], 12),
        ("", [], None),
    ],
)
def test_the_length_of_the_result_follows_from_the_options(given: str, lengths: list, total: float | None):
    assert ffmpeg.total(argv(given), lengths) == total


@pytest.mark.parametrize(
    ("given", "silent"),
    [
        ("-i a b", False),
        ("-v error -i a b", True),
        ("-loglevel repeat+level+warning -i a b", True),
        ("-v 32 -i a b", False),
        ("-i a -v", False),
    ],
)
def test_whether_it_will_say_how_long_its_inputs_are(given: str, *, silent: bool):
    assert ffmpeg.is_silent(argv(given)) is silent


@pytest.mark.parametrize("url", ["-", "pipe:0", "rtsp://x/y", "https://x/y.mp4", "udp://@:1"])
def test_pipes_and_the_network_are_not_probed(url: str):
    assert ffmpeg.ffprobe_argv("ffmpeg", ffmpeg.Input(url=url, options={})) is None


def test_generated_sources_and_devices_are_not_probed():
    for fmt in ("lavfi", "v4l2", "x11grab"):
        assert ffmpeg.ffprobe_argv("ffmpeg", ffmpeg.Input(url="x", options={"f": fmt})) is None


def test_ffprobe_is_taken_from_beside_ffmpeg_with_what_the_format_needs():
    source = ffmpeg.Input(url="-x.txt", options={"f": "concat", "safe": "0", "ss": "3"})
    command = ffmpeg.ffprobe_argv("/opt/ffmpeg/ffmpeg-7.1", source)
    assert command is not None
    assert command[0] == "/opt/ffmpeg/ffprobe-7.1"
    assert command[-6:] == ("-f", "concat", "-safe", "0", "-i", "-x.txt")


@pytest.mark.parametrize("words", ["-i", "-t", "-", "-ss x -i a b", "-i a -t x b", "-to -i -i"])
def test_a_command_line_that_ffmpeg_will_refuse_does_no_harm(words: str):
    ffmpeg.total(argv(words), [1.0])
    ffmpeg.is_silent(argv(words))
    ffmpeg.instrument(argv(words), "/p")


# --- what it prints


def feed(parser: FfmpegParser, text: str) -> list[Sample]:
    return [sample for line in text.splitlines() if (sample := parser.feed(line, 0.0)) is not None]


def test_unknown_and_negative_times_are_no_progress():
    parser = FfmpegParser(10.0)
    for value in ("N/A", "-9223372036854775807", "-1", ""):
        (sample,) = feed(parser, f"frame=3\nout_time_us={value}\nout_time_ms={value}\nprogress=continue")
        assert sample.current == 0.0


def test_out_time_ms_is_in_microseconds():
    (sample,) = feed(FfmpegParser(10.0), "out_time_ms=2500000\nprogress=end")
    assert sample == Sample(current=2.5, total=10.0, message="")


def test_lengths_are_those_of_the_inputs_and_not_of_what_comes_later():
    parser = FfmpegParser()
    parser.expect(argv("-i a -i b -shortest c"))
    feed(
        parser,
        "Input #0, mov, from 'a=b':\n  Duration: 00:01:00.00, start: 0\nInput #1, x:\n  Duration: 00:00:20.50, s",
    )
    feed(parser, "Output #0, mp4\n  Duration: 09:00:00.00, start")
    assert parser.lengths == [60.0, 20.5]
    assert parser.total == 20.5


def test_an_input_without_a_length_stays_without():
    parser = FfmpegParser()
    feed(parser, "Input #0, lavfi, from 'testsrc=d=5':\n  Duration: N/A, start: 0.000000, bitrate: N/A\nOutput #0")
    assert (parser.lengths, parser.total) == ([None], None)
    (sample,) = feed(parser, "out_time_us=1000000\nspeed=2x\nprogress=continue")
    assert sample == Sample(current=1.0, total=None, message="2x")


def test_what_was_asked_of_ffprobe_stands():
    parser = FfmpegParser()
    parser.expect(argv("-ss 10 -i a b"), [60.0])
    feed(parser, "Input #0, mov:\n  Duration: 00:00:01.00, start")
    assert parser.total == 50.0


def test_the_status_line_counts_only_as_long_as_there_are_no_blocks():
    parser = FfmpegParser(10.0)
    line = "frame=  115 fps=0.0 q=29.0 size=       0kB time=00:00:02.16 bitrate=   0.2kbits/s speed= 4.3x    "
    assert [sample.current for sample in feed(parser, line)] == [2.16]
    feed(parser, "out_time_us=5000000\nprogress=continue")
    assert feed(parser, line) == []


@pytest.mark.parametrize(
    "line", ["size=N/A time=N/A bitrate=N/A speed=N/A", "progress=continue", "progress=end", "key=value"]
)
def test_what_says_nothing_yields_nothing(line: str):
    assert feed(FfmpegParser(10.0), line) == []


# --- real ones


def transcode(folder: Path, words: list[str]) -> tuple[list[Line], FfmpegParser, int]:
    """Runs ffmpeg with its progress going to a FIFO; what it says, in order of arrival per stream."""
    fifo = str(folder / "progress")
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    command = ["ffmpeg", *words]
    reader = ProgressReader(ProgressSource(parser="ffmpeg"))
    parser = reader.parser
    assert isinstance(parser, FfmpegParser)
    parser.expect(command)
    try:
        done = subprocess.run(
            ffmpeg.instrument(command, fifo),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        said = reader.feed_output("stderr", done.stderr, 0.0)
        with contextlib.suppress(BlockingIOError):
            said += reader.feed_channel(os.read(fd, 1 << 16), 0.0)
    finally:
        os.close(fd)
        os.unlink(fifo)
    return said + reader.flush(0.0), parser, done.returncode


def highest(said: list[Line]) -> float:
    tracker, reached = Tracker(), []
    for now, sample in enumerate(said):
        assert isinstance(sample, Sample)
        update = tracker.add(sample, float(now))
        if update is not None and update.fraction is not None:
            reached.append(update.fraction)
    assert reached == sorted(reached)
    return reached[-1] if reached else -1.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("media") / "clip.mp4"
    source = "testsrc=duration=4:size=160x120:rate=25"
    command = ["ffmpeg", "-v", "error", "-nostdin", "-f", "lavfi", "-i", source, "-c:v", "mpeg4", str(path)]
    subprocess.run(command, check=True, timeout=60)
    return str(path)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("before", "after", "total"),
    [
        ([], [], 4.0),
        (["-ss", "1"], [], 3.0),
        ([], ["-t", "2"], 2.0),
        (["-ss", "1", "-to", "3"], [], 2.0),
        ([], ["-ss", "1", "-to", "3"], 2.0),
        (["-stream_loop", "1"], [], 8.0),
        (["-sseof", "-1"], [], 1.0),
    ],
)
def test_a_real_transcode_comes_near_its_end(
    clip: str, tmp_path: Path, before: list[str], after: list[str], total: float
):
    said, parser, status = transcode(tmp_path, ["-y", *before, "-i", clip, *after, "-c:v", "mpeg4", "out.mp4"])
    assert status == 0
    assert parser.total == pytest.approx(total, abs=0.05)
    assert highest(said) > 0.9


@needs_ffmpeg
def test_a_generated_source_needs_no_probe(tmp_path: Path):
    words = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=64x64:duration=3",
        "-f",
        "lavfi",
        "-i",
        "sine=d=3",
        "-c:v",
        "mpeg4",
        "o.mkv",
    ]
    said, parser, status = transcode(tmp_path, words)
    assert (status, parser.total) == (0, 3.0)
    assert highest(said) > 0.9


@needs_ffmpeg
def test_the_users_own_status_line_serves_where_progress_goes_elsewhere(clip: str, tmp_path: Path):
    said, _, status = transcode(tmp_path, ["-y", "-progress", os.devnull, "-i", clip, "-c:v", "mpeg4", "out.mp4"])
    assert status == 0
    assert highest(said) > 0.9


@needs_ffmpeg
def test_ffprobe_says_how_long_an_input_is(clip: str):
    command = ffmpeg.ffprobe_argv("ffmpeg", ffmpeg.Input(url=clip, options={}))
    assert command is not None
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30, stdin=subprocess.DEVNULL)
    assert float(answer.stdout) == pytest.approx(4.0, abs=0.05)


@needs_ffmpeg
def test_every_flag_of_this_ffmpeg_is_known_as_one():
    """An option that takes no value, read as one that does, would swallow an input or an output."""
    command = ["ffmpeg", "-hide_banner", "-h", "long"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    listed = set(re.findall(r"^-(\w+)  ", text, re.MULTILINE))
    takes_one = """vsync async filter_threads filter_complex_threads frame_drop_threshold vstats_version apad fps_mode
        reinit_filter discard disposition copypriorss thread_queue_size top guess_layout_max seek_timestamp"""
    assert {name for name in listed if not ffmpeg._is_flag(name)} <= set(takes_one.split())
