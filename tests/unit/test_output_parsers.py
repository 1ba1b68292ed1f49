"""Promises of the parsers: what real programs print is read, and what only looks like it is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrun.model import ProgressSource
from taskrun.output.parsers import PARSERS, Parser, RegexParser, make_parser, number
from taskrun.output.samples import Message, Phase, Sample, Status

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "progress"
SAMPLES = [json.loads(line) for line in (FIXTURES / "progress_samples.jsonl").read_text(encoding="utf-8").splitlines()]
REGEXES = json.loads((FIXTURES / "progress_regexes.json").read_text(encoding="utf-8"))


def parser(name: str, **settings: object) -> Parser:
    return make_parser(ProgressSource(parser=name, **settings))


def of(name: str, line: str) -> object:
    return parser(name).feed(line, 0.0)


# --- numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42),
        (" 42.5 ", 42.5),
        (".5", 0.5),
        ("1,234", 1234),
        ("31,981,568", 31_981_568),
        ("12,5", 12.5),
        ("1_000", 1000),
        ("2.00M", 2e6),
        ("57MiB", 57 * 1024**2),
        ("3kB", 3000),
        ("31.95M", 31.95e6),
        ("7G", 7e9),
        ("", None),
        ("x", None),
        ("1.2.3", None),
        ("12 frames", None),
        ("٣", None),
    ],
)
def test_numbers_are_read_as_programs_print_them(text: str, value: float | None):
    assert number(text) == value


# --- the samples of real programs


@pytest.mark.parametrize(
    "sample", [s for s in SAMPLES if s["parser"] == "tqdm"], ids=lambda sample: sample["line"][:30]
)
def test_tqdm_samples(sample: dict):
    said, match = of("tqdm", sample["line"]), sample["match"]
    if match is None:
        assert said is None
    else:
        assert said == Sample(
            current=number(match["current"]), total=number(match["total"]), message=match.get("message") or ""
        )


@pytest.mark.parametrize(
    "sample", [s for s in SAMPLES if s["parser"] in {"cmake", "7zip", "pytest"}], ids=lambda s: s["line"][:40]
)
def test_percent_samples(sample: dict):
    said, match = of("percent", sample["line"]), sample["match"]
    if "percent" not in match:
        assert said is None  # `[ 2/91]`
    else:
        assert isinstance(said, Sample)
        assert said.fraction == pytest.approx(float(match["percent"]) / 100)
        if sample["parser"] == "cmake":
            assert said.message == match["message"]


@pytest.mark.parametrize(
    "sample", [s for s in SAMPLES if s["parser"] in {"ninja", "pip", "pytest"}], ids=lambda s: s["line"][:40]
)
def test_fraction_samples(sample: dict):
    said, match = of("fraction", sample["line"]), sample["match"]
    if "total" not in match:
        assert said is None
    else:
        assert isinstance(said, Sample)
        assert (said.current, said.total) == (float(match["current"]), float(match["total"]))
        if sample["parser"] == "ninja":
            assert said.message == match["message"]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample['parser']}: {sample['line'][:30]}")
def test_each_sample_as_a_users_regex(sample: dict):
    """The regex parser understands the groups and numbers of every program in the collection."""
    said, match = RegexParser(REGEXES[sample["parser"]]).feed(sample["line"], 0.0), sample["match"]
    if match is None:
        assert said is None
    elif match.get("percent") is not None:
        assert isinstance(said, Sample)
        assert said.fraction == pytest.approx(number(match["percent"]) / 100)
        assert said.current == (number(match["current"]) if "current" in match else None)
    elif match.get("current") is not None:
        assert isinstance(said, Sample)
        assert said.current == number(match["current"])


def test_a_pattern_that_takes_for_ever_is_given_up_and_says_so():
    parser = RegexParser(r"(?P<percent>(\d+)+)x")
    assert parser.feed("7x", 0.0) == Sample(fraction=0.07)
    said = parser.feed("1" * 50, 0.0)
    assert isinstance(said, Message)
    assert "given up" in said.text
    assert parser.feed("8x", 0.0) is None


# --- percent


@pytest.mark.parametrize(
    ("line", "fraction", "message"),
    [
        ("42%", 0.42, None),
        ("  7 % copying", 0.07, "copying"),
        ("[ 25%] Building", 0.25, "Building"),
        ("copying a.mov (33.3%)", 0.333, "copying a.mov"),
        ("\tcopying [  1%]", 0.01, "copying"),
        ("100% ######", 1.0, None),
    ],
)
def test_percent_at_a_place_of_its_own(line: str, fraction: float, message: str | None):
    said = of("percent", line)
    assert isinstance(said, Sample)
    assert said.fraction == pytest.approx(fraction)
    assert said.message == message


@pytest.mark.parametrize(
    "line",
    [
        "no number %",
        "142%",
        "1234%",
        "muxing overhead: 3.718892%",
        "consecutive B-frames:  0.6%  0.0%  1.7% 97.8%",
        "skip:96.2%",
        "100%sure",
        "a 42% discount",
        "coverage: 91%",
        "-5%",
    ],
)
def test_percent_elsewhere_is_not_taken_for_progress(line: str):
    assert of("percent", line) is None


def test_percent_at_the_end_is_believed_when_it_rises_with_the_same_words():
    bar = parser("percent")
    assert bar.feed("Uploading a.bin: 10%", 0) is None
    assert bar.feed("coverage: 50%", 0) is None
    assert bar.feed("Uploading a.bin: 10%", 0) is None
    said = bar.feed("Uploading a.bin: 40%", 0)
    assert isinstance(said, Sample)
    assert (said.fraction, said.message) == (0.4, "Uploading a.bin")
    assert bar.feed("coverage: 45%", 0) is None


def test_the_end_form_remembers_a_bounded_number_of_words():
    bar = parser("percent")
    for name in range(10_000):
        bar.feed(f"{'ab'[name % 2] * (name % 5000 + 1)}: 10%", 0)
    assert len(bar._seen) <= 64


# --- fraction


@pytest.mark.parametrize(
    ("line", "current", "total", "message"),
    [
        ("[1/12] CC a.o", 1, 12, "CC a.o"),
        ("3/10", 3, 10, None),
        ("  3 / 10 copying", 3, 10, "copying"),
        ("(4/5): installing", 4, 5, "installing"),
        ("17 of 300 done", 17, 300, "done"),
        ("Frame 17 of 300", 17, 300, "Frame"),
        ("test PASSED  [ 2/91]", 2, 91, "test PASSED"),
        ("[0/5]", 0, 5, None),
    ],
)
def test_fraction_at_a_place_of_its_own(line: str, current: float, total: float, message: str | None):
    said = of("fraction", line)
    assert isinstance(said, Sample)
    assert (said.current, said.total, said.message) == (current, total, message)


@pytest.mark.parametrize(
    "line",
    [
        "11/21 20:30:01 [NOTICE] Download complete",
        "3/4/2026 backup",
        "1/2/x",
        "0/0",
        "5/3",
        "see a/b",
        "2/3rds",
        "[a/b]",
        "out of 10",
        "9" * 400 + "/" + "9" * 400,
        "page 3 of 10 was skipped",
    ],
)
def test_dates_and_paths_are_no_fractions(line: str):
    assert of("fraction", line) is None


# --- tqdm


def bar(label: str, current: int, total: int) -> str:
    return f"{label}: {100 * current // total:3}%|███  | {current}/{total} [00:01<00:02, 10.0it/s]"


def followed(lines: list[tuple[float, str]]) -> list[tuple[int | None, float | None]]:
    tqdm = parser("tqdm")
    said = [tqdm.feed(line, now) for now, line in lines]
    return [(s.phase, s.current) for s in said if isinstance(s, Sample)]


def test_one_bar_after_another_is_a_phase_each():
    lines = [(0.0, bar("a", n, 3)) for n in range(4)] + [(1.0, bar("b", n, 3)) for n in range(4)]
    assert followed(lines) == [(None, 0), (None, 1), (None, 2), (None, 3), (2, 0), (2, 1), (2, 2), (2, 3)]


def test_of_nested_bars_the_outer_one_is_followed():
    lines = []
    for epoch in range(3):
        lines.append((epoch * 60.0, bar("epochs", epoch, 3)))
        lines += [(epoch * 60.0 + step, bar(f"batch {epoch}", step, 50)) for step in range(51)]
    lines.append((180.0, bar("epochs", 3, 3)))
    assert followed(lines) == [(None, 0), (None, 1), (None, 2), (None, 3)]


def test_a_changing_description_is_still_the_same_bar():
    lines = [(n * 1.0, bar(f"file {'abc'[n]}.mov loss={n}", n, 3)) for n in range(3)]
    assert followed(lines) == [(None, 0), (None, 1), (None, 2)]


def test_a_bar_that_was_given_up_is_left_for_another():
    lines = [(0.0, bar("a", 1, 10))]
    for turn in range(3):
        lines += [(10.0 + turn, bar(f"other {'xyz'[turn]}", n, 4)) for n in range(5)]
    assert followed(lines)[1:] == [(2, n) for n in range(5)]


def test_a_full_bar_drawn_once_more_is_no_new_phase():
    assert followed([(0, bar("a", 2, 2)), (0, bar("a", 2, 2))]) == [(None, 2), (None, 2)]


def test_the_same_bar_from_the_start_is_a_new_phase():
    assert followed([(0, bar("a", 2, 2)), (0, bar("a", 0, 2))]) == [(None, 2), (2, 0)]


# --- regex


@pytest.mark.parametrize(
    ("pattern", "line", "said"),
    [
        (r"(?P<percent>[\d.,]+)\s*%", "at 12,5 %", Sample(fraction=0.125)),
        (r"f=(?P<fraction>\S+)", "f=0.25", Sample(fraction=0.25)),
        (r"(?P<current>\d+) of (?P<total>\d+)", "3 of 4", Sample(current=3, total=4)),
        (r"Frame (?P<current>\d+)", "Frame 5", Sample(current=5, total=250)),
        (r"(?P<percent>\d+)%", "10% 20% 30%", Sample(fraction=0.3)),
        (r"^(?P<message>\w+): (?P<percent>\d+)", "enc: 50", Sample(fraction=0.5, message="enc")),
        (
            r"pass (?P<phase>\d)/(?P<phases>\d), (?P<percent>\d+)",
            "pass 2/2, 7",
            Sample(fraction=0.07, phase=2, phases=2),
        ),
        (r"pass (?P<phase>\d)(?: (?P<percent>\d+))?", "pass 2", Phase(number=2)),
        (r"doing (?P<message>.*)", "doing \x07this", Status(text="this")),
        (r"(?P<percent>\w+)%", "ab%", None),
        (r"(?P<percent>\d+)%", "nothing", None),
    ],
)
def test_a_users_regex(pattern: str, line: str, said: object):
    source = ProgressSource(parser="regex", regex=pattern, total=250 if "Frame" in pattern else None)
    assert make_parser(source).feed(line, 0.0) == said


# --- all of them


def test_an_unknown_parser_and_a_broken_regex_are_refused():
    with pytest.raises(ValueError, match="no progress parser is called `nope`"):
        parser("nope")
    with pytest.raises(ValueError, match="without its pattern"):
        parser("regex")


@pytest.mark.parametrize("name", sorted(PARSERS))
@given(line=st.text(alphabet=st.one_of(st.characters(), st.sampled_from("0123456789%/[]()|: =<.")), max_size=80))
def test_no_parser_raises(name: str, line: str):
    parser(name, regex=r"(?P<percent>.*)%|(?P<current>.*)/(?P<total>.*)|(?P<phase>.*):").feed(line, 0.0)


@pytest.mark.parametrize("name", sorted(set(PARSERS) - {"regex"}))
@pytest.mark.parametrize(
    "line", ["1" * 4096, "%" * 4096, "1/" * 2048, "[" * 4096, " " * 4095 + "%", "=" * 4096, "a: " * 1300 + "%|"]
)
def test_a_nasty_line_is_over_at_once(name: str, line: str):
    for _ in range(20):
        of(name, line)
